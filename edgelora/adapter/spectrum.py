"""The singular values of an adapter's products, without ever building a full matrix.

Factors -> Spectrum
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgelora.values import FloatArray
from edgelora_runtime.adapter import Factors


@dataclass(frozen=True, eq=False)
class Spectrum:
    """``scaling * B @ A`` as ``u @ diag(values) @ v``, values falling; ``u`` and ``v`` have orthonormal directions."""

    u: FloatArray  # (out_features, count)
    values: FloatArray  # (count,), count is at most the rank
    v: FloatArray  # (count, in_features)

    @property
    def energy(self) -> float:
        """Sum of the squared singular values: the squared Frobenius norm of the product."""
        return float(np.sum(self.values.astype(np.float64) ** 2))

    @property
    def effective_rank(self) -> float:
        """Exponential of the entropy of the values' shares (Roy and Vetterli, 2007); 0 for a product of zeros."""
        total = float(self.values.sum())
        if total == 0:
            return 0.0
        shares = self.values[self.values > 0].astype(np.float64) / total
        return float(np.exp(-np.sum(shares * np.log(shares))))

    def cut(self, rank: int) -> Factors:
        """The first ``rank`` directions, each with the root of its value on both sides."""
        root = np.sqrt(self.values[:rank])
        return Factors(root[:, None] * self.v[:rank], self.u[:, :rank] * root, 1.0)


def find_spectrum(factors: Factors) -> Spectrum:
    """The singular values of one module, through QR of both factors: the cost is that of the rank, not of the size."""
    left, left_core = np.linalg.qr(factors.b.astype(np.float64))  # (out_features, k), (k, rank)
    right, right_core = np.linalg.qr(factors.a.T.astype(np.float64))  # (in_features, j), (j, rank)
    inner, values, outer = np.linalg.svd(factors.scaling * (left_core @ right_core.T), full_matrices=False)
    return Spectrum((left @ inner).astype(np.float32), values.astype(np.float32), (outer @ right.T).astype(np.float32))


def find_spectra(factors: Mapping[str, Factors]) -> dict[str, Spectrum]:
    """The spectrum of every module."""
    return {module: find_spectrum(item) for module, item in factors.items()}
