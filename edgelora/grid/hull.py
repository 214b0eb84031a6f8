"""Spends a budget on the choices that remove most error for their cost, along each group's lower convex hull.

Group, a limit -> the choice of each group
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Group(Protocol):
    """What is decided together. Choices are whole numbers, a larger one never cheaper."""

    @property
    def errors(self) -> Mapping[int, float]:
        """Choice -> its error."""

    @property
    def costs(self) -> Mapping[int, int]:
        """Choice -> its cost."""


@dataclass(frozen=True)
class Step:
    """Take a group from the hull's point before to ``choice``."""

    group: int
    choice: int
    gain: float
    cost: int

    @property
    def rate(self) -> float:
        """Error removed for a unit of cost."""
        return self.gain / self.cost if self.cost > 0 else math.inf  # alignment can make a tiny tensor's step free


def spend(groups: Sequence[Group], limit: int) -> tuple[list[int], float]:
    """The choice of each group within ``limit``, and the error that the last step removed for a unit of cost."""
    chosen = [min(group.costs) for group in groups]
    left = limit - sum(group.costs[choice] for group, choice in zip(groups, chosen, strict=True))
    steps = [step for index, group in enumerate(groups) for step in hull(index, group)]
    full: set[int] = set()  # groups whose next step did not fit
    rate = -math.inf  # nothing was widened
    for step in sorted(steps, key=lambda step: (-step.rate, step.group, step.choice)):
        if step.group in full:
            continue
        if step.cost > left:
            full.add(step.group)
            continue
        chosen[step.group] = step.choice
        left -= step.cost
        rate = step.rate
    return chosen, rate


def hull(index: int, group: Group) -> list[Step]:
    """The steps along the lower convex hull of error over cost; their rates fall from one to the next."""
    steps: list[Step] = []
    at = min(group.costs)
    while True:
        ahead = [
            Step(index, choice, group.errors[at] - group.errors[choice], group.costs[choice] - group.costs[at])
            for choice in group.costs
            if choice > at and group.errors[choice] < group.errors[at]
        ]
        if not ahead:
            return steps
        best = max(ahead, key=lambda step: (step.rate, step.choice))
        steps.append(best)
        at = best.choice
