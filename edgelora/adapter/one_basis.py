"""Joins products of several adapters in bases that they share, without building a whole matrix.

Factors of one module, their weights, Join -> Factors

KnOTS is Stoica and others, 2024; core space is Panariello and others, 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgelora.values import FloatArray
from edgelora_runtime.adapter import Factors

_NO_DIRECTION = 1e-6  # of the largest singular value: float32 factors have no smaller ones

Join = Callable[[Sequence[FloatArray], Sequence[float]], FloatArray]


def join_rights(items: Sequence[Factors], weights: Sequence[float], join: Join) -> Factors:
    """KnOTS: the products side by side are U S [V1' V2' ...], and what is joined are the V'.

    Q and R of the factors stand for the products, so that no matrix is larger than the ranks are together.
    """
    left, left_core = np.linalg.qr(np.concatenate([item.b for item in items], axis=1).astype(np.float64))
    ends = np.cumsum([item.a.shape[0] for item in items])[:-1]
    rights = [np.linalg.qr(item.a.T.astype(np.float64)) for item in items]
    cores = [
        item.scaling * core @ right_core.T
        for item, core, (_, right_core) in zip(items, np.split(left_core, ends, axis=1), rights, strict=True)
    ]
    u, values, v = np.linalg.svd(np.concatenate(cores, axis=1), full_matrices=False)
    count = max(1, int(np.count_nonzero(values > _NO_DIRECTION * values[0])))
    widths = np.cumsum([core.shape[1] for core in cores])[:-1]
    parts = [
        (part[:count] @ right.T).astype(np.float32)
        for part, (right, _) in zip(np.split(v, widths, axis=1), rights, strict=True)
    ]
    return Factors(join(parts, weights), (left @ u[:, :count] * values[:count]).astype(np.float32), 1.0)


def join_cores(items: Sequence[Factors], weights: Sequence[float], join: Join) -> Factors:
    """Core space: all B side by side span the outputs, all A above each other the inputs, and what is joined are the
    products between these two bases, (directions of B, directions of A) each, which say all that the products say.
    """
    outputs = _directions(np.concatenate([item.b for item in items], axis=1))  # (out_features, directions of B)
    inputs = _directions(np.concatenate([item.a.T for item in items], axis=1))  # (in_features, directions of A)
    cores = [
        (item.scaling * (outputs.T @ item.b) @ (item.a.astype(np.float64) @ inputs)).astype(np.float32)
        for item in items
    ]
    core = join(cores, weights)
    if core.shape[0] <= core.shape[1]:
        return Factors((core @ inputs.T).astype(np.float32), outputs.astype(np.float32), 1.0)
    return Factors(inputs.T.astype(np.float32), (outputs @ core).astype(np.float32), 1.0)


def _directions(columns: FloatArray) -> FloatArray:
    """The left singular vectors, those alone without which a column would lose more than float64 rounds; one at least.

    A small adapter beside a large one is as whole as the large one.
    """
    whole = columns.astype(np.float64)
    u, values, _ = np.linalg.svd(whole, full_matrices=False)
    least = max(whole.shape) * np.finfo(np.float64).eps * values[0]
    found: FloatArray = u[:, : max(1, int(np.count_nonzero(values > least)))]
    return found
