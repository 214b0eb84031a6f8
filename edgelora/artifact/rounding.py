"""How far one way of computing answers is from another, over many positions: KL, equal top tokens, logits apart.

logits of two sides -> Figures
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgelora.values import FloatArray

Answer = Callable[[Sequence[int]], FloatArray]  # token ids -> logits (len(ids), vocab_size)


@dataclass(frozen=True)
class Figures:
    """What rounding changes, over ``positions`` positions; KL in nats, from what is exact to what is rounded."""

    positions: int
    kl_mean: float
    kl_max: float
    top1_agreement: float  # share of positions with the same most likely token
    largest_difference: float  # of a logit, relative to the largest logit of all


class Tally:
    """Adds positions up, row by row."""

    def __init__(self) -> None:
        self._positions = 0
        self._agreed = 0
        self._kl_sum = 0.0
        self._kl_max = 0.0
        self._apart = 0.0
        self._largest = 0.0

    def add(self, exact: FloatArray, found: FloatArray) -> None:
        """Count the logits (n, vocab_size) of one row."""
        expected, given = log_softmax(exact), log_softmax(found)
        kl = np.maximum(0.0, np.einsum("pv,pv->p", np.exp(expected), expected - given, dtype=np.float64))
        self._positions += len(kl)
        self._agreed += int((exact.argmax(-1) == found.argmax(-1)).sum())
        self._kl_sum += float(kl.sum())
        self._kl_max = max(self._kl_max, float(kl.max(initial=0.0)))
        self._apart = max(self._apart, float(np.abs(exact - found).max(initial=0.0)))
        self._largest = max(self._largest, float(np.abs(exact).max(initial=0.0)))

    def figures(self) -> Figures:
        """All that was added; something must have been."""
        count = self._positions
        return Figures(
            positions=count,
            kl_mean=self._kl_sum / count,
            kl_max=self._kl_max,
            top1_agreement=self._agreed / count,
            largest_difference=self._apart / (self._largest or 1.0),
        )


class Spread:
    """KL from answers to their own mean: what a model that has not read the text would be away from one that has."""

    def __init__(self) -> None:
        self._mean: FloatArray | np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None = None
        self._positions = 0
        self._negative_entropy = 0.0

    def add(self, logits: FloatArray) -> None:
        """Count the logits (n, vocab_size) of one row."""
        logs = log_softmax(logits)
        shares = np.exp(logs)
        total = shares.sum(axis=0, dtype=np.float64)
        self._mean = total if self._mean is None else self._mean + total
        self._positions += len(logits)
        self._negative_entropy += float(np.einsum("pv,pv->", shares, logs, dtype=np.float64))

    def mean_kl(self) -> float:
        """Nats; something must have been added."""
        assert self._mean is not None
        mean = np.asarray(self._mean, np.float64) / self._positions
        cross = float((mean * np.log(np.maximum(mean, 1e-300))).sum())
        return max(0.0, self._negative_entropy / self._positions - cross)


def log_softmax(logits: FloatArray) -> FloatArray:
    """Log-probabilities along the last axis, in float32."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    result: FloatArray = shifted.astype(np.float32, copy=False)
    return result
