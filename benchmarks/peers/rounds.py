"""Turns: every subject of every worker once in each round, all others waiting.

Knows nothing about engines; a turn is a question to a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from benchmarks.peers.worker import Worker

Turn = TypeVar("Turn")

_WARM_UP = 1  # rounds that are not counted; each turn has untimed steps of its own as well
_SETTLE_SECONDS = 0.1  # threads of the worker before may spin a little after its last step


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 7
    prefill: int = 512  # tokens at once
    steps: int = 24  # tokens decoded in a turn


@dataclass(frozen=True)
class Turns:
    """What the rounds of one number of threads gave, by label; one entry for each round."""

    decode_ms: Mapping[str, tuple[float, ...]]  # median over the steps of a turn
    prefill_ms: Mapping[str, tuple[float, ...]]
    tokens: Mapping[str, tuple[int, ...]]  # chosen greedily in the first turn
    idle_share: Mapping[str, float]  # processor time of a worker while others had their turn, over that time


def measure(workers: Sequence[Worker], plan: Plan, step: Callable[[], object] = lambda: None) -> Turns:
    """Ask every subject in turns; another one goes first in every round. ``step`` is called after each round."""
    turns = [(worker, subject) for worker in workers for subject in worker.subjects]
    decode: dict[str, list[float]] = {subject.label: [] for _, subject in turns}
    prefill: dict[str, list[float]] = {subject.label: [] for _, subject in turns}
    tokens: dict[str, tuple[int, ...]] = {}
    idle = {worker.name: [0.0, 0.0] for worker in workers}  # processor seconds, seconds
    for number in range(rounds_with_warm_up(plan.rounds)):
        for worker, subject in rotate(turns, number):
            time.sleep(_SETTLE_SECONDS)
            others = [other for other in workers if other is not worker]
            label, prefilled = subject.label, []
            with _watch(others, idle):
                if len(subject.adapters) <= 1:  # a batch shows what many rows cost in decode; its prompts are as many
                    prefilled = worker.ask({"prefill": plan.prefill, "subject": label})["ms"]
                decoded = worker.ask({"decode": plan.steps, "subject": label})
            tokens.setdefault(label, tuple(decoded["tokens"]))
            if number >= _WARM_UP:
                prefill[label] += prefilled
                decode[label].append(float(np.median(decoded["ms"])))
        step()
    return Turns(
        {label: tuple(times) for label, times in decode.items()},
        {label: tuple(times) for label, times in prefill.items()},
        tokens,
        {name: round(used / max(wall, 1e-9), 4) for name, (used, wall) in idle.items()},
    )


def rotate(turns: Sequence[Turn], number: int) -> Iterator[Turn]:
    """The same turns, beginning with another one in every round."""
    start = number % len(turns)
    yield from turns[start:]
    yield from turns[:start]


def rounds_with_warm_up(rounds: int) -> int:
    """How often ``step`` is called by ``measure``."""
    return _WARM_UP + rounds


@contextmanager
def _watch(others: Sequence[Worker], idle: Mapping[str, list[float]]) -> Iterator[None]:
    before = [worker.cpu_seconds() for worker in others]
    started = time.perf_counter()
    yield
    wall = time.perf_counter() - started
    for worker, seconds in zip(others, before, strict=True):
        idle[worker.name][0] += worker.cpu_seconds() - seconds
        idle[worker.name][1] += wall
