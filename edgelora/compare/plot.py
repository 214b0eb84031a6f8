"""The plot of a comparison: loss and task metric over size, one labelled point for each arm.

Summary -> a picture

Colours are those of Okabe and Ito (Color Universal Design, 2008), which people with any colour vision tell apart; every
arm has a marker of its own as well.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edgelora.compare.arms import Arm
from edgelora.compare.report import METRIC_NAMES, WITHOUT_LOSS
from edgelora.compare.summary import ArmSummary, Over, Summary

_STYLES = {
    "float": ("#000000", "s"),
    "float-merged": ("#D55E00", "v"),
    "float-factored": ("#E69F00", "D"),
    "grid": ("#0072B2", "o"),
    "grid-gptq": ("#009E73", "^"),
}
_INK = "#222222"
_WIDTH, _HEIGHT, _DPI = 8.0, 3.6, 100  # inches of one panel; 800 pixels across
_NEAR = 0.06  # sizes that are closer than this share of the axis stand side by side
_APART = 0.018  # share of the axis between two that do
_LINE = 0.075  # share of the axis that a label is high


def draw(found: Summary, title: str) -> bytes:
    """The plot as a PNG, 800 pixels wide.

    Arms without an adapter would squeeze all others together, so they are told in words.
    """
    rows = [row for row in found.arms if row.arm.trained_on is not None]
    bases = [row for row in found.arms if row.arm.trained_on is None]
    panels = 1 if found.metric is None else 2
    figure = Figure(figsize=(_WIDTH, _HEIGHT * panels), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(panels, 1, squeeze=False)[:, 0]
    losses = ", ".join(f"{row.arm.name} {row.loss.median:.3f}" for row in bases)
    _panel(axes[0], rows, [row.loss for row in rows], _loss_name(found.metric), ".3f")
    beside = "without an adapter, not shown"
    axes[0].set_title(f"{title}\n{beside}: {losses}" if bases else title, fontsize=10, loc="left")
    if found.metric is not None:
        name = METRIC_NAMES[found.metric]
        shares = ", ".join(f"{row.arm.name} {100 * row.figures[found.metric].median:.1f} %" for row in bases)
        values = [_percent(row.figures[found.metric]) for row in rows]
        _panel(axes[1], rows, values, f"{name} (%), higher is better", ".1f")
        axes[1].set_title(f"{beside}: {shares}" if bases else "", fontsize=10, loc="left")
    axes[-1].set_xlabel("size of graph, weights and adapter (MB); points of like size stand side by side")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def spread_labels(heights: Sequence[float], least: float) -> list[float]:
    """Heights of labels (0 to 1) next to points at ``heights``, at least ``least`` apart, in the same order."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    placed = [heights[index] for index in order]
    for index in range(1, len(placed)):
        placed[index] = max(placed[index], placed[index - 1] + least)
    # What was pushed over the top comes down again, together with what is then in its way.
    for index in reversed(range(len(placed))):
        ceiling = 1 - least / 2 if index == len(placed) - 1 else placed[index + 1] - least
        placed[index] = min(placed[index], ceiling)
    result = [0.0] * len(heights)
    for index, height in zip(order, placed, strict=True):
        result[index] = height
    return result


def _loss_name(metric: str | None) -> str:
    return "loss, lower is better" if metric in WITHOUT_LOSS else "loss (nats), lower is better"


def _panel(axes: Axes, rows: Sequence[ArmSummary], values: Sequence[Over], name: str, spec: str) -> None:
    sizes = [row.bytes / 1e6 for row in rows]
    left, right = min(sizes), max(sizes)
    width = (right - left) or right or 1.0
    low, high = min(value.least for value in values), max(value.most for value in values)
    height = (high - low) or abs(high) or 1.0
    axes.set_xlim(left - 0.06 * width, right + 0.22 * width)
    axes.set_ylim(low - 0.12 * height, high + 0.12 * height)
    span = 1.28 * width
    places = _side_by_side(sizes, span)
    for group in _groups(sizes, span):
        bottom, top = axes.get_ylim()
        wanted = [(values[index].median - bottom) / (top - bottom) for index in group]
        edge = max(places[index] for index in group)
        for index, share in zip(group, spread_labels(wanted, _LINE), strict=True):
            colour, marker = _style(rows[index].arm)
            value = values[index]
            errors = [[value.median - value.least], [value.most - value.median]]
            axes.errorbar(places[index], value.median, yerr=errors, fmt=marker, color=colour, capsize=3, markersize=7)
            axes.annotate(
                f"{rows[index].arm.name} {format(value.median, spec)}",
                (places[index], value.median),
                xytext=(edge + 0.04 * span, bottom + share * (top - bottom)),
                color=_INK,
                fontsize=10,
                va="center",
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6},
            )
    axes.set_ylabel(name)
    axes.spines[["top", "right"]].set_visible(False)


def _groups(sizes: Sequence[float], span: float) -> list[list[int]]:
    """Indices of points whose sizes lie next to each other, in the order of their sizes."""
    groups: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda index: sizes[index]):
        if groups and sizes[index] - sizes[groups[-1][0]] < _NEAR * span:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _side_by_side(sizes: Sequence[float], span: float) -> list[float]:
    places = list(sizes)
    for group in _groups(sizes, span):
        middle = sum(sizes[index] for index in group) / len(group)
        for number, index in enumerate(group):
            places[index] = middle + (number - (len(group) - 1) / 2) * _APART * span
    return places


def _style(arm: Arm) -> tuple[str, str]:
    return _STYLES.get(arm.name, ("#555555", "X"))


def _percent(value: Over) -> Over:
    return Over(100 * value.median, 100 * value.least, 100 * value.most)
