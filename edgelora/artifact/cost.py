"""What an export costs in answers: KL from the float model to what ships, and which part of it the grid is.

artifact, rows, the float model's answers -> the manifest's record of what rounding costs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgelora.artifact.exact import ExactGraph
from edgelora.artifact.rounding import Figures, Tally
from edgelora.values import HalfArray
from edgelora_runtime import load
from edgelora_runtime.manifest import read_manifest

_DIGITS = 4


def rounding_cost(
    artifact: Path, exact: bytes, rows: Sequence[Sequence[int]], float_answers: Sequence[HalfArray]
) -> Mapping[str, Any]:
    """A record for the manifest, KL in nats on average over all positions of ``rows``.

    ``kl`` is from the float model to the artifact as it runs, ``kl_grid`` to the same graph in ``exact`` arithmetic,
    ``kl_device`` from that to the artifact as it runs; ``float_answers`` are log-probabilities for each row.
    """
    model, graph = load(artifact), ExactGraph(exact, artifact, read_manifest(artifact))
    whole, grid, device = Tally(), Tally(), Tally()
    for ids, logs in zip(rows, float_answers, strict=True):
        expected, found = graph.logits(ids), model.logits(list(ids), adapter="none")
        taught = logs.astype(np.float32)
        whole.add(taught, found)
        grid.add(taught, expected)
        device.add(expected, found)
    figures = whole.figures()
    return {
        "positions": figures.positions,
        "kl": _short(figures),
        "kl_grid": _short(grid.figures()),
        "kl_device": _short(device.figures()),
        "top1_agreement": round(figures.top1_agreement, _DIGITS),
    }


def _short(figures: Figures) -> float:
    return float(f"{figures.kl_mean:.{_DIGITS}g}")
