"""Bars on standard error, one for each thing that takes time; none where that is no terminal, or a line now and then.

Knows nothing about what is done meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:  # torch, which help does not wait for
    from edgelora.training.loop import StepReport

_UNSEEN = 1e9  # seconds


def grid_bar(names: Sequence[str]) -> Iterable[str]:
    """A bar over rows that calibrate and tensors that are rounded."""
    bar: Iterable[str] = tqdm(names, desc="grid", file=sys.stderr, disable=None)
    return bar


def residual_bar(modules: Sequence[str]) -> Iterable[str]:
    """A bar over the modules whose rounding is taken apart."""
    bar: Iterable[str] = tqdm(modules, desc="residual", unit="module", file=sys.stderr, disable=None)
    return bar


def merge_bar(layers: Sequence[str]) -> Iterable[str]:
    """A bar over the layers for which it is measured whether to merge them."""
    bar: Iterable[str] = tqdm(layers, desc="merge", unit="layer", file=sys.stderr, disable=None)
    return bar


def step_bar(name: str | None = None) -> tqdm[None]:
    """The bar of a training; a log file gets a line now and then, a terminal a bar that moves.

    It is not shown before ``advance`` tells how many steps there are.
    """
    interval = 0.5 if sys.stderr.isatty() else 15  # seconds
    return tqdm(desc=name, unit="step", dynamic_ncols=True, mininterval=interval, delay=_UNSEEN)


def advance(bar: tqdm[None], report: StepReport) -> None:
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
