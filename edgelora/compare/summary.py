"""From scores to the table: medians and ranges over seeds, and differences paired by seed.

Arm, Score -> Summary
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgelora.compare.arms import REFERENCE_ARM, Arm
from edgelora.compare.score import Score
from edgelora.evaluation.score import task_metric
from edgelora.evaluation.timing import Spread


@dataclass(frozen=True)
class Over:
    """A figure over the seeds."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class ArmSummary:
    """One row of the table."""

    arm: Arm
    loss: Over
    loss_over_float: Over | None  # loss less that of the arm "float" with the same seed; None for that arm itself
    figures: Mapping[str, Over]
    bytes: int  # median
    decode_ms: Spread | None
    by_seed: Mapping[int | None, Score]


@dataclass(frozen=True)
class Summary:
    """The whole table."""

    arms: tuple[ArmSummary, ...]
    metric: str | None  # name of the figure that says most about the task; None where rows have no prompts
    rows: int
    answered: int


def summarize(
    arms: Sequence[Arm], scores: Mapping[str, Mapping[int | None, Score]], decode_ms: Mapping[str, Spread]
) -> Summary:
    """Every arm over its seeds; the base alone, which has none, is compared with each seed of the reference arm."""
    reference = scores[REFERENCE_ARM]
    rows = []
    for arm in arms:
        found = scores[arm.name]
        apart = [(found[seed] if seed in found else found[None]).loss - reference[seed].loss for seed in reference]
        names = [name for name, value in next(iter(found.values())).figures.items() if value is not None]
        rows.append(
            ArmSummary(
                arm=arm,
                loss=over([score.loss for score in found.values()]),
                loss_over_float=None if arm.name == REFERENCE_ARM else over(apart),
                figures={name: over([float(score.figures[name] or 0) for score in found.values()]) for name in names},
                bytes=int(statistics.median(score.bytes for score in found.values())),
                decode_ms=decode_ms.get(arm.name),
                by_seed=found,
            )
        )
    first = next(iter(reference.values()))
    return Summary(tuple(rows), task_metric(first.figures), first.rows, first.answered)


def over(values: Sequence[float]) -> Over:
    """Median and range of at least one value."""
    return Over(statistics.median(values), min(values), max(values))
