"""Logits of a head as scores of its labels.

logits, HeadInfo -> Classification
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgelora_runtime.manifest import MULTI_LABEL, REGRESSION, HeadInfo

_CHOSEN = 0.5  # the score from which on a label of several is one of the text's


@dataclass(frozen=True)
class Classification:
    """``label`` is the likeliest and ``score`` its score; ``labels`` are those that hold, one unless several may.

    ``truncated`` is whether the text was longer than the model reads, so that its end had no say.
    """

    label: str
    score: float
    scores: Mapping[str, float]
    labels: tuple[str, ...]
    truncated: bool = False


def score_labels(logits: npt.NDArray[np.float32], head: HeadInfo) -> npt.NDArray[np.float64]:
    """Scores (..., labels) of logits (..., labels): calibrated probabilities, or the numbers of a regression."""
    scaled = logits.astype(np.float64) / head.temperature
    if head.problem_type == REGRESSION:
        return scaled
    if head.problem_type == MULTI_LABEL:
        return np.asarray(np.exp(-np.logaddexp(0.0, -scaled)), np.float64)
    shares = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True), np.float64)


def classify_logits(logits: npt.NDArray[np.float32], head: HeadInfo, truncated: bool = False) -> Classification:
    """The answer for one text of logits (labels,)."""
    scores = score_labels(logits, head).tolist()
    best = int(logits.argmax())
    is_multi = head.problem_type == MULTI_LABEL
    chosen = [label for label, score in zip(head.labels, scores, strict=True) if score >= _CHOSEN]
    labels = tuple(chosen) if is_multi else (head.labels[best],)
    return Classification(
        head.labels[best], scores[best], dict(zip(head.labels, scores, strict=True)), labels, truncated
    )
