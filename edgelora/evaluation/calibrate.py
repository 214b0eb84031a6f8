"""Finds the temperature that makes a head's scores mean what they say, on rows that it has not learned.

logits, targets -> temperature

Source: temperature scaling (Guo et al. 2017, arXiv:1706.04599).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora.values import FloatArray

_LOW, _HIGH = 0.05, 20.0
_STEPS = 60  # of a golden section: far below the rounding of the result
_GOLDEN = (math.sqrt(5) - 1) / 2


def fit_temperature(logits: FloatArray, targets: npt.NDArray[np.int64]) -> float:
    """What logits (n, labels) are divided by for the lowest loss: the least surprise at ``targets``.

    ``targets`` are labels (n,), or zeros and ones (n, labels) where a text may have several.
    """
    values = logits.astype(np.float64)
    low, high = math.log(_LOW), math.log(_HIGH)
    for _ in range(_STEPS):  # the loss has one valley in 1 / temperature, hence in its logarithm too
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if mean_surprise(values / math.exp(left), targets) < mean_surprise(values / math.exp(right), targets):
            high = right
        else:
            low = left
    return float(f"{math.exp((low + high) / 2):.4g}")


def mean_surprise(logits: npt.NDArray[Any], targets: npt.NDArray[np.int64]) -> float:
    """Mean negative log-probability (nats) of the targets; of several labels the mean over them."""
    if targets.ndim == 2:
        return float(np.mean(np.logaddexp(0.0, logits) - logits * targets))
    largest = logits.max(axis=1, keepdims=True)
    total = largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))
    return float(np.mean(total - logits[np.arange(len(targets)), targets]))
