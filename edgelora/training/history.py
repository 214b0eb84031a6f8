"""What happened at each step of a run, for whoever plots or compares it later: one JSON object a line.

StepRecord -> lines
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

HISTORY_FILE = "history.jsonl"


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step."""

    step: int  # from 1
    loss: float  # of this step alone, before it was taken
    learning_rate: float
    tokens: int  # seen so far
    seconds: float  # spent so far, those before a resume included
    eval_loss: float | None = None  # after this step, where it was evaluated


def evaluations_since_best(steps: Iterable[StepRecord]) -> int:
    """How many evaluations in a row, up to the last, were not better than the best before them."""
    losses = [step.eval_loss for step in steps if step.eval_loss is not None]
    best, since = math.inf, 0
    for loss in losses:
        best, since = (loss, 0) if loss < best else (best, since + 1)
    return since


def history_lines(steps: Iterable[StepRecord]) -> str:
    """The lines of a history; only evaluated steps have an ``eval_loss``, and that only where it is a number."""
    return "".join(json.dumps(fields_of(step)) + "\n" for step in steps)


def fields_of(step: StepRecord) -> dict[str, float]:
    """What is known of a step by name, as a number."""
    fields = dataclasses.asdict(step)
    return {name: value for name, value in fields.items() if value is not None and math.isfinite(value)}
