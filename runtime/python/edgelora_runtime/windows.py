"""A text that is longer than a model reads at once, in windows that overlap by a quarter.

number of tokens, tokens of a window -> Window
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Tokens ``start`` to ``end`` are read together; those from ``first`` to ``last`` count here."""

    start: int
    end: int
    first: int
    last: int


def plan_windows(n_tokens: int, size: int) -> tuple[Window, ...]:
    """Windows of ``size`` tokens over a text, the last one as long as what is left; one where all fits.

    A token counts where it is farthest from an edge, the first of equal ones; the ends of the text are no edges.
    """
    step = max(1, size - size // 4)
    starts = [0]
    while starts[-1] + size < n_tokens:
        starts.append(starts[-1] + step)
    ends = [min(start + size, n_tokens) for start in starts]
    # Of two windows, the earlier one is as far from its end at (end - 1 + start) / 2 as the later one from its start.
    borders = [(end - 1 + start) // 2 + 1 for end, start in zip(ends, starts[1:], strict=False)]
    return tuple(map(Window, starts, ends, [0, *borders], [*borders, n_tokens]))
