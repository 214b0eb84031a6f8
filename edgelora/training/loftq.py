"""First LoRA factors that stand for what rounding took away, so that training starts nearest to the float model.

Grid, modules -> Factors

Source: LoftQ (Li et al. 2023, arXiv:2310.08659). There the quantized weight and the factors are fitted in turns; here
the grid is what ships and stays as it is, so one turn gives the nearest sum that there is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgelora.checkpoint.names import turned, weight_of
from edgelora.errors import ConfigError
from edgelora.grid.make import Grid
from edgelora.progress import SILENT, Progress
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Factors


def loftq_factors(
    grid: Grid, modules: Sequence[str], rank: int, scaling: float, progress: Progress = SILENT
) -> dict[str, Factors]:
    """For each module the factors whose product is nearest to the float weight minus its value on the grid.

    ``modules`` are tensor names without ``.weight``; one that the grid left as it was has no factors here. Raises
    ConfigError when that is so for all of them.
    """
    factors = {}
    for module in progress.track(modules, "residual", "module"):
        name = weight_of(module)
        if name not in grid.matrices:
            continue
        lost = turned(name, grid.checkpoint.read(name) - grid.value(name))
        if lost.any():
            factors[module] = best_factors(lost, rank, scaling)
    if not factors:
        raise ConfigError(
            f"--init residual repairs the rounding of a quantized base, and {grid.plan.label} rounds none of the "
            "adapted modules; use --quant int4, int2 or int8, or leave --init out"
        )
    return factors


def best_factors(lost: FloatArray, rank: int, scaling: float) -> Factors:
    """``scaling * b @ a`` is the best approximation of ``lost`` (out_features, in_features) in Frobenius norm.

    The singular values are split evenly between the two factors, and the largest entry of each column of b is
    positive, so that equal weights always give equal factors. A rank above that of the matrix leaves zeros.
    """
    out_features, in_features = lost.shape
    wide = in_features >= out_features
    # A weight is small on one side at least; the eigenvectors of that side's gram matrix are its singular vectors. In
    # float64, squaring the values costs no digit that float32 would have kept.
    small = np.asarray(lost if wide else lost.T, np.float64)  # (n_small, n_large)
    kept = min(rank, small.shape[0])
    vectors = np.linalg.eigh(small @ small.T)[1][:, ::-1][:, :kept]  # largest first
    others = vectors.T @ small  # (kept, n_large), rows of length sigma
    sigma = np.linalg.norm(others, axis=1)
    directions = others / np.where(sigma > 0, sigma, 1)[:, None]
    left, right = (vectors, directions) if wide else (directions.T, vectors.T)
    size = np.sqrt(sigma / scaling)
    signs = _largest_signs(left)
    a = np.zeros((rank, in_features), np.float32)
    b = np.zeros((out_features, rank), np.float32)
    a[:kept] = (size * signs)[:, None] * right
    b[:, :kept] = left * (size * signs)
    return Factors(a, b, scaling)


def _largest_signs(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sign of the entry of largest magnitude in each column; 1 for a column of zeros."""
    largest = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])]
    return np.where(largest < 0, -1.0, 1.0)
