"""The plot of a run: decode time of every subject, one panel for each model and number of threads.

Knows nothing about how the times came about. Colours are those of Okabe and Ito (Color Universal Design, 2008).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edgelora.evaluation.timing import spread

_COLOURS = {"edgelora": "#0072B2", "onnxruntime-genai": "#D55E00", "llama.cpp": "#009E73", "PEFT": "#CC79A7"}
_WIDTH, _BAR, _MARGIN, _DPI = 8.0, 0.27, 1.1, 100  # inches
_BEYOND = 3.0  # bars longer than this many times the median subject are cut and say how long they are


def draw(results: Mapping[str, Any]) -> bytes:
    """A PNG, 800 pixels wide; bars are medians over the rounds, lines reach from the 10th to the 90th percentile."""
    panels = [
        (f"{found['model']}, {threads} threads", turns["decode_ms"])
        for found in results["models"].values()
        for threads, turns in found["threads"].items()
    ]
    heights = [_MARGIN + _BAR * len(times) for _, times in panels]
    figure = Figure(figsize=(_WIDTH, sum(heights)), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis, (title, times) in zip(axes, panels, strict=True):
        labels = list(times)[::-1]
        spreads = [spread(times[label]) for label in labels]
        limit = _BEYOND * float(np.median([item.median for item in spreads]))
        for place, (label, item) in enumerate(zip(labels, spreads, strict=True)):
            engine = next((name for name in _COLOURS if label.startswith(name)), "edgelora")
            axis.barh(place, min(item.median, limit), color=_COLOURS[engine], height=0.7)
            if item.median < limit:
                axis.plot([item.p10, min(item.p90, limit)], [place, place], color="#222222", linewidth=1)
            axis.annotate(f" {item.median:.2f}", (min(item.p90, limit), place), va="center", fontsize=7)
        axis.set_yticks(range(len(labels)), labels, fontsize=7)
        axis.set_xlim(0, 1.12 * min(limit, max(item.p90 for item in spreads)))
        axis.set_title(f"{title}: ms for a step of decoding, less is better", fontsize=9, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
