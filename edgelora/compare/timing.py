"""How long each arm takes to decode a token, all of them in turns in one run.

Workshop, Arm -> Spread
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgelora.compare.arms import FLOAT, Arm, adapter_name
from edgelora.compare.artifacts import TARGET, Workshop
from edgelora.compare.score import versions
from edgelora.compare.storage import read_result, write_result
from edgelora.evaluation.timing import Spread, Subject, bind, open_session, rounds_with_warm_up, time_subjects
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.session import Session

ROUNDS, STEPS = 10, 16  # every arm has its turn in each round


def time_arms(workshop: Workshop, arms: Sequence[Arm], path: Path) -> Mapping[str, Spread]:
    """Arm name -> milliseconds to decode a token, with the adapters of the first seed; kept in ``path``.

    Artifacts are exported at the target's own accuracy level, which is what a user waits for.
    """
    settings = workshop.settings
    depends = {
        "arms": [arm.name for arm in arms],
        "base": workshop.grids[FLOAT].base_fingerprint,
        "grids": {name: grid.fingerprint for name, grid in workshop.grids.items()},
        "rank": settings.options.rank,
        "target_modules": list(settings.options.target_modules),
        "threads": settings.threads,
        "accuracy_level": TARGET.accuracy_level,
        "versions": versions(),
    }
    found = read_result(path, depends)
    if found is None:
        found = {name: dataclasses.asdict(times) for name, times in _time(workshop, arms).items()}
        write_result(path, depends, found)
    return {name: Spread(**times) for name, times in found.items()}


def _time(workshop: Workshop, arms: Sequence[Arm]) -> Mapping[str, Spread]:
    sessions: dict[Path, tuple[Session, Manifest]] = {}
    artifacts = {arm.name: _artifact(workshop, arm) for arm in arms}  # all adapters are in before any is opened
    subjects: list[Subject] = []
    for arm in arms:
        artifact = artifacts[arm.name]
        if artifact not in sessions:
            sessions[artifact] = open_session(artifact, workshop.settings.threads)
        session, manifest = sessions[artifact]
        spec = "none" if arm.merged else _adapter(workshop, arm) or "none"
        subjects.append(bind(session, manifest, artifact, spec, arm.name))
    vocab_size = next(iter(sessions.values()))[1].model.vocab_size
    with workshop.progress.counting("decode", rounds_with_warm_up(ROUNDS), "round") as step:

        def round_done() -> None:
            step(1)

        return time_subjects(subjects, ROUNDS, STEPS, vocab_size, round_done).decode_ms


def _artifact(workshop: Workshop, arm: Arm) -> Path:
    name = _adapter(workshop, arm)
    if arm.merged and name is not None:
        return workshop.merged(name, TARGET.accuracy_level)
    return workshop.on_values(arm.values, [] if name is None else [name], TARGET.accuracy_level)


def _adapter(workshop: Workshop, arm: Arm) -> str | None:
    return None if arm.trained_on is None else adapter_name(arm.trained_on, workshop.settings.seeds[0])
