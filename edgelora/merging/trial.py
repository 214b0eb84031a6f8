"""Builds candidates of a merge and looks what they weigh and how long they take.

Parts, Build, Limits -> Taken
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelora.artifact.build import Build, build_artifact
from edgelora.artifact.parts import Parts
from edgelora.evaluation.timing import bind, open_session, time_subjects
from edgelora.merging.merge_policy import Limits
from edgelora_runtime.files import temporary_folder
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.names import NO_ADAPTER

_ROUNDS, _STEPS = 5, 16  # of timing: how often every candidate has its turn, tokens in a turn


@dataclass(frozen=True)
class Taken:
    """What an artifact takes."""

    bytes: int  # of graph and weights
    ms: float | None  # of a decode step, median; None where no budget asks


@dataclass(frozen=True)
class Trial:
    """How candidates are built, and what is asked of them."""

    build: Build
    limits: Limits
    scratch: Path  # an empty folder

    @property
    def is_asked(self) -> bool:
        """Whether there is a budget that only a built artifact can tell of."""
        return self.limits.max_bytes is not None or self.limits.max_ms is not None

    def run(self, candidates: Mapping[str, Parts]) -> Mapping[str, Taken]:
        """Label -> what it takes; all are timed in turns inside one process."""
        with temporary_folder(self.scratch) as place:
            for label, parts in candidates.items():
                (place / label).mkdir()
                build_artifact(place / label, parts, self.build)
            return self._look([place / label for label in candidates])

    def _look(self, folders: Sequence[Path]) -> Mapping[str, Taken]:
        manifests = {folder: read_manifest(folder) for folder in folders}
        sizes = {
            folder.name: sum(manifest.files[name].bytes for name in (manifest.graph.file, manifest.graph.weights))
            for folder, manifest in manifests.items()
        }
        if self.limits.max_ms is None:
            return {name: Taken(size, None) for name, size in sizes.items()}
        subjects = [bind(*open_session(folder), folder, NO_ADAPTER, folder.name) for folder in folders]
        vocab_size = next(iter(manifests.values())).model.vocab_size
        times = time_subjects(subjects, _ROUNDS, _STEPS, vocab_size).decode_ms
        return {name: Taken(size, times[name].median) for name, size in sizes.items()}
