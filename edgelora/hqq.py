"""Half-quadratic quantization: ranges that fit most weights of a block well and give up on its outliers.

Knows nothing about models or calibration data; it needs none.

Source: Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023).
"""

from __future__ import annotations

import numpy as np

from edgelora.quantize import nearest_bfloat16, quantize_blocks, round_to_levels, search_range
from edgelora.types import FloatArray, QuantizedMatrix, QuantSpec

LP_NORM = 0.7  # the paper's p, beta and growth of beta
_BETA = 10.0
_GROWTH = 1.01
_ITERATIONS = 12
_SMALLEST = 1e-6  # in steps; keeps 0 ** (p - 1) finite


def quantize_hqq(weight: FloatArray, spec: QuantSpec) -> QuantizedMatrix:
    """Codes of ``weight`` (out_features, in_features) that minimize the sum of ``|error| ** 0.7``; deterministic.

    No block has a larger such sum than with the range that ``quantize`` or ``search_range`` gives it.
    """
    return quantize_blocks(weight, spec, lambda blocks: _optimize(blocks, spec))


def lp_error(weight: FloatArray, rounded: FloatArray) -> float:
    """Sum over all weights of ``|error| ** 0.7``, the quantity that ``quantize_hqq`` lowers."""
    return float(np.power(np.abs(rounded - weight), LP_NORM).sum())


def _optimize(blocks: FloatArray, spec: QuantSpec) -> tuple[FloatArray, FloatArray]:
    """Scale and zero point (rows, n_blocks) of each block of ``blocks`` (rows, n_blocks, block_size).

    The paper splits the error off as a variable of its own and alternates: shrink that error towards zero, then solve
    for the parameters in closed form. It moves the zero point, a real number there. Zero points are whole numbers on
    our grid, and fixed where it is symmetric, so here the scale is solved for; an asymmetric grid also follows a real
    zero point, rounded wherever it is used. Errors are counted in steps of the first scale, which makes the paper's
    beta mean the same for every block. Each block keeps the best parameters that it met.
    """
    start, zeros = search_range(blocks, spec)
    unit: FloatArray = np.abs(start)
    steps: FloatArray = blocks / unit[:, :, None]
    scales: FloatArray = start / unit
    drift: FloatArray = zeros.copy()
    best_scales, best_zeros = start, zeros
    best_errors = np.full(start.shape, np.inf, np.float32)
    beta = _BETA
    for _ in range(_ITERATIONS):
        shipped = nearest_bfloat16(scales * unit)  # what is measured is what would ship
        scales = shipped / unit
        levels = round_to_levels(steps, scales, zeros, spec.bits)
        moved = steps - levels * scales[:, :, None]  # (rows, n_blocks, block_size)
        size = np.maximum(np.abs(moved), np.float32(_SMALLEST))
        slope = np.power(size, np.float32(LP_NORM - 1))
        errors = np.einsum("rbk,rbk->rb", size, slope) * np.power(unit, np.float32(LP_NORM))
        better = errors < best_errors
        best_errors = np.where(better, errors, best_errors)
        best_scales, best_zeros = np.where(better, shipped, best_scales), np.where(better, zeros, best_zeros)
        outliers = np.sign(moved) * np.maximum(size - slope / np.float32(beta), 0)
        kept = steps - outliers
        across, along = np.einsum("rbk,rbk->rb", levels, kept), np.einsum("rbk,rbk->rb", levels, levels)
        fitted = np.where(along > 0, across / np.where(along > 0, along, 1), scales)
        scales = np.where(np.abs(fitted) > _SMALLEST, fitted, scales)
        if not spec.symmetric:
            drift += np.mean(levels - kept / scales[:, :, None], axis=-1)
            zeros = np.clip(np.rint(drift), 0, (1 << spec.bits) - 1)
        beta *= _GROWTH
    return best_scales, best_zeros
