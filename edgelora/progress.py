"""How far something is, for whoever waits for it: bars in the command line, nothing where nobody looks.

items and counts as they are worked on -> Progress

Nothing that is computed depends on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Count = Callable[[int], object]  # told how many more are done


@dataclass(frozen=True)
class StepReport:
    """What is known after a step of training."""

    step: int  # from 1
    total: int
    loss: float  # mean of the recent steps, nats per completion token
    tokens_per_s: float
    eval_loss: float | None  # of this step, where it was evaluated


class Progress(Protocol):
    """Follows the work of one call."""

    def track(self, items: Sequence[Item], what: str, unit: str) -> Iterable[Item]:
        """The items in order, each as its turn comes."""

    def counting(self, what: str, total: int, unit: str) -> AbstractContextManager[Count]:
        """Follows ``total`` of something that is not at hand."""

    def training(self, name: str) -> AbstractContextManager[Callable[[StepReport], None]]:
        """Follows the steps of one training."""

    def say(self, text: str) -> None:
        """Tell what comes next, or what was found."""


class Silent:
    """Progress that nobody looks at; a subclass may look at a part of it."""

    def track(self, items: Sequence[Item], what: str, unit: str) -> Iterable[Item]:
        """The items in order."""
        return items

    @contextlib.contextmanager
    def counting(self, what: str, total: int, unit: str) -> Iterator[Count]:
        """Count nothing."""
        yield lambda _: None

    @contextlib.contextmanager
    def training(self, name: str) -> Iterator[Callable[[StepReport], None]]:
        """Hear of nothing."""
        yield lambda _: None

    def say(self, text: str) -> None:
        """Say nothing."""


SILENT: Progress = Silent()
