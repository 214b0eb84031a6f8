"""The artifacts of a comparison, exported when something is to be measured on them and thrown away afterwards.

Grid, Trained -> an artifact's folder
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.exporter import Exporter
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.artifact.store import add_adapter
from edgelora.artifact.targets import find_target
from edgelora.compare.adapters import Trained
from edgelora.compare.arms import FLOAT, Settings
from edgelora.grid.make import Grid, plan_grid
from edgelora.merging.merge_all import merge_all
from edgelora.progress import Progress
from edgelora.values import Checkpoint
from edgelora_runtime.manifest import Manifest, read_manifest

TARGET = find_target("cpu")  # timing is of the machine that compares
EXACT_LEVEL = 0  # float32 activations: grid and adapter are compared, not how a kernel rounds what goes in


@dataclass(frozen=True)
class Workshop:
    """Where artifacts are made, and of what."""

    checkpoint: Checkpoint
    grids: Mapping[str, Grid]
    adapters: Mapping[str, Trained]
    exporter: Exporter
    settings: Settings
    folder: Path
    progress: Progress

    def on_values(self, values: str, names: Sequence[str], level: int) -> Path:
        """One grid of the base with the adapters ``names``; what is there already is used again."""
        if values == FLOAT:
            level = EXACT_LEVEL  # floats are multiplied as floats at any level, so one artifact serves both
        out = self.folder / f"{values}-level{level}"
        if not out.exists():
            self.progress.say(f"exporting {values} values, accuracy level {level}")
            export_artifact(Parts(self.grids[values]), out, Build(self.exporter, ExportOptions(TARGET.name, level)))
        known = {info.name for info in read_manifest(out).adapters}
        for name in names:
            if name not in known:
                # No probe: an adapter that does badly on these values is a finding here, not a mistake.
                add_adapter(out, name, self.adapters[name].folder, probe=False)
        return out

    def merged(self, name: str, level: int) -> Path:
        """The adapter ``name`` merged in float and then quantized on the plain grid, however little is left of it."""
        out = self.folder / f"merged-{name}-level{level}"
        if not out.exists():
            self.progress.say(f"merging {name}, accuracy level {level}")
            make_grid = functools.partial(plan_grid, plan=self.settings.plan(), progress=self.progress)
            parts = merge_all(self.checkpoint, self.adapters[name].folder, make_grid, accept_lossy=True)
            export_artifact(parts, out, Build(self.exporter, ExportOptions(TARGET.name, level)))
        return out


def weight_bytes(manifest: Manifest) -> int:
    """Graph and weights of an artifact, without tokenizer and adapters."""
    return sum(manifest.files[name].bytes for name in (manifest.graph.file, manifest.graph.weights))
