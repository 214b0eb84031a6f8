"""Bars on standard error, one for each thing that takes time; none where that is no terminal, or a line now and then.

items and counts as they are worked on -> bars
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from tqdm import tqdm

from edgelora.cli.output import note
from edgelora.progress import Count, Item, StepReport

_UNSEEN = 1e9  # seconds


class Bars:
    """Progress as tqdm draws it."""

    def track(self, items: Sequence[Item], what: str, unit: str) -> Iterable[Item]:
        """A bar over items, in a terminal alone."""
        bar: Iterable[Item] = tqdm(items, desc=what, unit=unit, file=sys.stderr, disable=None)
        return bar

    @contextlib.contextmanager
    def counting(self, what: str, total: int, unit: str) -> Iterator[Count]:
        """A bar over rows or rounds."""
        with tqdm(total=total, desc=what, unit=unit, file=sys.stderr, mininterval=_interval()) as bar:
            yield bar.update

    @contextlib.contextmanager
    def training(self, name: str) -> Iterator[Callable[[StepReport], None]]:
        """A bar over steps, shown when it is told how many there are."""
        with tqdm(desc=name, unit="step", dynamic_ncols=True, mininterval=_interval(), delay=_UNSEEN) as bar:
            yield lambda report: _advance(bar, report)

    def say(self, text: str) -> None:
        """A line of its own."""
        note(text)


BARS = Bars()


def _interval() -> float:
    return 0.5 if sys.stderr.isatty() else 15  # seconds; a log file gets a line now and then


def _advance(bar: tqdm[None], report: StepReport) -> None:
    """Move the bar; time left is what the bar itself works out."""
    if bar.total is None:
        bar.delay = 0
        bar.reset(total=report.total)
        bar.initial = report.step - 1  # a resumed run does not count the steps of the first one into its speed
        bar.n = report.step - 1
    bar.set_postfix_str(f"loss {report.loss:.4f}, {report.tokens_per_s:.0f} tokens/s", refresh=False)
    if report.eval_loss is not None:
        bar.write(f"step {report.step}: evaluation loss {report.eval_loss:.4f}", file=bar.fp)
    bar.update(1)
