"""Decides which examples meet in which batch, as a pure function of lengths, seed and position.

lengths, seed, step -> indices of examples

A run that resumes at step N asks for batch N and gets the same one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BatchPlan:
    """Batches of rows of like length, which wastes little on padding, in an order that is shuffled every epoch."""

    lengths: tuple[int, ...]  # tokens of each example
    batch_size: int
    seed: int

    @property
    def per_epoch(self) -> int:
        """Batches that cover every example once."""
        return math.ceil(len(self.lengths) / self.batch_size)

    def epoch(self, number: int) -> tuple[tuple[int, ...], ...]:
        """Every batch of one epoch as indices of examples."""
        shuffle = random.Random(f"{self.seed}/{number}")
        order = list(range(len(self.lengths)))
        shuffle.shuffle(order)  # the sort is stable: rows of one length meet in another company every epoch
        order.sort(key=lambda index: self.lengths[index])
        batches = chunk(order, self.batch_size)
        shuffle.shuffle(batches)
        return tuple(batches)


def chunk(order: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Cut a sequence into tuples of ``size``; the last one may be shorter."""
    return [tuple(order[start : start + size]) for start in range(0, len(order), size)]


def sorted_batches(lengths: Sequence[int], batch_size: int) -> tuple[tuple[int, ...], ...]:
    """Batches for evaluation: by length, every example once."""
    return tuple(chunk(sorted(range(len(lengths)), key=lambda index: lengths[index]), batch_size))


def count_steps(plan: BatchPlan, epochs: int, accumulate: int, max_steps: int | None) -> int:
    """Optimizer steps of a run; ``max_steps`` wins over ``epochs``."""
    return max_steps if max_steps is not None else math.ceil(plan.per_epoch * epochs / accumulate)


def batches_of_step(plan: BatchPlan, step: int, accumulate: int, last_batch: int) -> list[tuple[int, ...]]:
    """The batches that one optimizer step sums over; the run ends before ``last_batch`` (counted over all epochs)."""
    positions = range(step * accumulate, min((step + 1) * accumulate, last_batch))
    epochs = {position // plan.per_epoch for position in positions}
    drawn = {number: plan.epoch(number) for number in epochs}
    return [drawn[position // plan.per_epoch][position % plan.per_epoch] for position in positions]
