"""Shapes, norms, inner products and distances of what adapters add to weights, through their factors alone.

Factors -> shape, norm, inner product, Factors of a sum

The cost is that of the ranks, not of the size of the weights; everything is in float64 but the factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelora_runtime.adapter import Factors


def shape_of(item: Factors) -> tuple[int, int]:
    """The shape of a delta: (out_features, in_features)."""
    return item.b.shape[0], item.a.shape[1]


def norm(item: Factors) -> float:
    """The Frobenius norm of a delta."""
    _, left = np.linalg.qr(item.b.astype(np.float64))
    _, right = np.linalg.qr(item.a.T.astype(np.float64))
    return abs(item.scaling) * float(np.linalg.norm(left @ right.T))


def inner(first: Factors, second: Factors) -> float:
    """The sum of the products of two deltas' numbers."""
    left = second.b.astype(np.float64).T @ first.b
    right = first.a.astype(np.float64) @ second.a.T
    return first.scaling * second.scaling * float(np.sum(left * right.T))


def add_deltas(items: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """The exact weighted sum, at the sum of the ranks: ranks behind ranks, weights and scalings in A."""
    rows = [item.a * np.float32(weight * item.scaling) for item, weight in zip(items, weights, strict=True)]
    return Factors(np.concatenate(rows), np.concatenate([item.b for item in items], axis=1), 1.0)


def distance(first: Factors, second: Factors) -> float:
    """The Frobenius norm of the difference of two deltas."""
    return norm(add_deltas([first, second], [1.0, -1.0]))
