"""The rules by which task vectors become one: pruned by size or by chance, of one sign or of any, weighed and added.

arrays of one shape, their weights -> an array of that shape

Every rule but TSV is that of ``peft.utils.merge_utils`` in PEFT 0.21, draws included: both start the same Mersenne
Twister. TSV is Gargiulo and others, 2025.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from edgelora.values import FloatArray

Prune = Callable[[FloatArray], FloatArray]
SIGN_METHODS = ("total", "frequency")

_NO_DIRECTION = 1e-6  # of the largest singular value: the rest of a float32 matrix is rounding
_BITS = 24  # of a float32 that is drawn between 0 and 1


def keep_largest(values: FloatArray, density: float) -> FloatArray:
    """The largest share ``density`` of all numbers by size, and zeros."""
    count = int(density * values.size)
    if density >= 1 or count == values.size:
        return values
    kept = np.zeros(values.size, np.float32)
    if count:
        kept[np.argpartition(np.abs(values).reshape(-1), -count)[-count:]] = 1
    pruned: FloatArray = values * kept.reshape(values.shape)
    return pruned


class Draw:
    """Keeps numbers by chance; each call goes on where the last one ended.

    The same ``seed`` and ``module`` give what ``torch.bernoulli`` draws after ``torch.manual_seed(Draw.seed_of(...))``:
    every module has draws of its own, so that none depends on which others there are, or on their order.
    """

    def __init__(self, seed: int, module: str) -> None:
        self._twister = np.random.RandomState(self.seed_of(seed, module))  # the generator that torch has

    @staticmethod
    def seed_of(seed: int, module: str) -> int:
        """The seed of one module, 32 bits."""
        return int.from_bytes(hashlib.sha256(f"{seed}/{module}".encode()).digest()[:4], "little")

    def keep(self, values: FloatArray, density: float) -> FloatArray:
        """A random share ``density`` of all numbers, each divided by it, so that the mean stays; and zeros."""
        if density >= 1:
            return values
        drawn = self._twister.randint(0, 1 << 32, values.shape, dtype=np.uint32) & ((1 << _BITS) - 1)
        kept = drawn.astype(np.float32) * np.float32(2.0**-_BITS) < np.float32(density)
        pruned: FloatArray = values * kept.astype(np.float32) / np.float32(density)
        return pruned


def add(vectors: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """The weighted sum: task arithmetic, in which a negative weight takes a task away."""
    total: FloatArray = _weigh(np.stack(vectors), weights).sum(axis=0)
    return total


def add_agreeing(vectors: Sequence[FloatArray], weights: Sequence[float], sign_method: str = "total") -> FloatArray:
    """TIES: at each place the weighted mean of those numbers whose sign is that of most.

    ``sign_method`` total counts numbers by their size, frequency each as one; the weights have no say in it.
    """
    stacked = np.stack(vectors)
    signs = np.sign(stacked)
    elected = np.where((stacked if sign_method == "total" else signs).sum(axis=0) >= 0, 1, -1)
    agree = signs == elected
    total = (_weigh(stacked, weights) * agree).sum(axis=0)
    mean: FloatArray = total / np.maximum(agree.sum(axis=0), 1).astype(np.float32)
    return mean


def add_apart(matrices: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """TSV: the weighted sum after the singular directions of all matrices were made orthogonal to one another.

    Matrices are (rows, columns), and orthogonal are the nearest such directions, on either side. Where the ranks
    together are more than a matrix can have, each keeps its largest directions, in proportion to its rank: one or more.
    """
    spectra = [np.linalg.svd(item.astype(np.float64), full_matrices=False) for item in matrices]
    ranks = [max(1, int(np.count_nonzero(values > _NO_DIRECTION * values[0]))) for _, values, _ in spectra]
    room, wanted = min(matrices[0].shape), sum(ranks)
    counts = ranks if wanted <= room else [max(1, rank * room // wanted) for rank in ranks]
    values = np.concatenate(
        [weight * s[:count] for (_, s, _), count, weight in zip(spectra, counts, weights, strict=True)]
    )
    left = _orthogonal(np.concatenate([u[:, :count] for (u, _, _), count in zip(spectra, counts, strict=True)], axis=1))
    right = _orthogonal(np.concatenate([v[:count].T for (*_, v), count in zip(spectra, counts, strict=True)], axis=1))
    total: FloatArray = ((left * values) @ right.T).astype(np.float32)
    return total


def _orthogonal(columns: FloatArray) -> FloatArray:
    """The nearest matrix of that shape with orthonormal columns, or rows where those are fewer."""
    u, _, v = np.linalg.svd(columns, full_matrices=False)
    nearest: FloatArray = u @ v
    return nearest


def _weigh(stacked: FloatArray, weights: Sequence[float]) -> FloatArray:
    weighed: FloatArray = stacked * np.array(weights, np.float32).reshape(-1, *[1] * (stacked.ndim - 1))
    return weighed
