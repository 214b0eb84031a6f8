"""Blockwise rounding of one weight matrix, and its exact inverse.

weight, QuantSpec -> QuantizedMatrix, and back

Which tensors are quantized is decided in ``make``.

Source of the layout: the ``MatMulNBits`` operator of onnxruntime's com.microsoft domain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from edgelora.values import ByteArray, FloatArray, QuantizedMatrix, QuantSpec

ChooseRange = Callable[[FloatArray], tuple[FloatArray, FloatArray]]  # blocks -> scales and zero points

_CHUNK_WEIGHTS = 1 << 18  # rows are independent, so a megabyte at a time keeps temporaries in the processor's cache
_STEPS_OF_2_BITS = (0.22, 0.26, 0.3, 0.34, 0.38, 0.42, 0.46, 0.5, 0.55, 0.6, 0.7)  # scale over the largest magnitude
_SHRINKS = (0.96, 0.92, 0.88, 0.84, 0.8, 0.76, 0.72)  # scale over that of the full range
_SHIFTS = (-1, 1)  # of the zero point: a clipped range may lie better one code to either side
_REFINEMENTS = 2
_TINY = 1e-30
# Ranges that differ by less are equally good: sums that another processor adds in another order must not decide.
_CLEARLY = 1 - 1e-9


def quantize(weight: FloatArray, spec: QuantSpec) -> QuantizedMatrix:
    """Round ``weight`` (out_features, in_features) to the nearest point of its grid; deterministic.

    Symmetric: the entry of largest magnitude in a block becomes the lowest code. Asymmetric: the block's range, widened
    to hold zero, is divided evenly. With 2 bits that wastes most of four levels, so the range is searched instead
    (``search_range``). Scales are rounded to bfloat16 first, because some ARM kernels drop the lower bits.
    """
    choose = search_range if spec.bits == 2 else full_range
    return quantize_blocks(weight, spec, lambda blocks: choose(blocks, spec))


def quantize_ranges(weight: FloatArray, spec: QuantSpec, importance: FloatArray) -> QuantizedMatrix:
    """Round ``weight`` (out_features, in_features) to nearest on the ranges of least squared error.

    ``importance`` (in_features,) weighs the columns: an error counts as much as the input that it is multiplied with.
    """
    padded = np.pad(importance, (0, -len(importance) % spec.block_size))
    weights = padded.reshape(-1, spec.block_size)
    return quantize_blocks(weight, spec, lambda blocks: search_range(blocks, spec, weights))


def quantize_blocks(weight: FloatArray, spec: QuantSpec, choose: ChooseRange) -> QuantizedMatrix:
    """Round ``weight`` (out_features, in_features) to nearest on the range that ``choose`` finds for each block."""
    out_features, in_features = weight.shape
    n_blocks = -(-in_features // spec.block_size)
    packed = np.empty((out_features, n_blocks, spec.block_size * spec.bits // 8), np.uint8)
    scales = np.empty((out_features, n_blocks), np.float32)
    zeros = np.empty((out_features, n_blocks), np.float32)
    for rows in _row_chunks(out_features, in_features):
        blocks = _blocks(weight[rows], spec.block_size)  # (rows, n_blocks, block_size)
        scales[rows], zeros[rows] = choose(blocks)
        codes = np.rint(blocks / scales[rows][:, :, None])
        codes += zeros[rows][:, :, None]
        np.clip(codes, 0, (1 << spec.bits) - 1, out=codes)
        packed[rows] = pack_codes(codes.astype(np.uint8), spec.bits)
    return QuantizedMatrix(packed, scales, pack_zeros(zeros, spec), spec, in_features)


def full_range(blocks: FloatArray, spec: QuantSpec) -> tuple[FloatArray, FloatArray]:
    """Scale and zero point (rows, n_blocks) with which no weight of ``blocks`` (rows, n_blocks, block_size) clips."""
    low, high = _extremes(blocks)
    if spec.symmetric:
        half = 1 << (spec.bits - 1)
        extreme: FloatArray = np.where(high > -low, high, low)  # (rows, n_blocks)
        return _safe(to_bfloat16(extreme / np.float32(-half))), np.full(low.shape, half, np.float32)
    top = (1 << spec.bits) - 1
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scales = _safe(to_bfloat16((high - low) / np.float32(top)))
    return scales, np.clip(np.rint(-low / scales), 0, top)


def search_range(
    blocks: FloatArray, spec: QuantSpec, importance: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Scale and zero point (rows, n_blocks) of least squared error over a fixed list of ranges; never worse than full.

    ``importance`` (n_blocks, block_size) weighs the columns. With 2 bits the four levels lie unevenly around zero, so
    both sides are tried: by the scale's sign where the grid is symmetric, by the zero point where it is not. The best
    of the list is refined by least squares with its codes held.
    """
    bits, found = spec.bits, full_range(blocks, spec)
    best = _Best(blocks, bits, importance, *found)
    if bits == 2:
        reach = np.abs(blocks).max(axis=-1)  # (rows, n_blocks)
        for step in _STEPS_OF_2_BITS:
            scales = _safe(nearest_bfloat16(reach * np.float32(step)))
            mirrored = (-scales, 2.0) if spec.symmetric else (scales, 1.0)
            for candidate, zero in ((scales, 2.0), mirrored):
                best.offer(candidate, np.full(reach.shape, zero, np.float32))
    else:
        for shrink in _SHRINKS:
            best.offer(_safe(nearest_bfloat16(found[0] * np.float32(shrink))), found[1])
        for shift in () if spec.symmetric else _SHIFTS:
            best.offer(best.scales, np.clip(best.zeros + np.float32(shift), 0, (1 << bits) - 1))
    for _ in range(_REFINEMENTS):
        best.offer(fit_scales(blocks, best.scales, best.zeros, bits, importance), best.zeros)
    return best.scales, best.zeros


def fit_scales(
    blocks: FloatArray, scales: FloatArray, zeros: FloatArray, bits: int, importance: FloatArray | None = None
) -> FloatArray:
    """The scales of least squared error for the codes that ``scales`` lead to; unchanged where every code is zero."""
    levels = round_to_levels(blocks, scales, zeros, bits)
    weighted = levels if importance is None else levels * importance
    across, along = _sum_products(weighted, blocks), _sum_products(weighted, levels)
    fitted = np.where(along > 0, across / np.where(along > 0, along, 1), scales)
    return nearest_bfloat16(np.where(np.abs(fitted) > _TINY, fitted, scales).astype(np.float32))


def round_to_levels(blocks: FloatArray, scales: FloatArray, zeros: FloatArray, bits: int) -> FloatArray:
    """Codes less their zero point, as floats: blocks is (rows, n_blocks, block_size), the others (rows, n_blocks)."""
    levels: FloatArray = blocks / scales[:, :, None]
    np.rint(levels, out=levels)
    np.maximum(levels, -zeros[:, :, None], out=levels)  # twice as fast as clip, whose bounds are broadcast slowly
    np.minimum(levels, ((1 << bits) - 1) - zeros[:, :, None], out=levels)
    return levels


def dequantize(matrix: QuantizedMatrix) -> FloatArray:
    """The values a device multiplies with: (out_features, in_features) float32."""
    weight = np.empty((matrix.out_features, matrix.in_features), np.float32)
    for rows in _row_chunks(matrix.out_features, matrix.in_features):
        weight[rows] = _dequantize_rows(matrix, rows)
    return weight


def relative_error(weight: FloatArray, matrix: QuantizedMatrix) -> float:
    """Root mean square of what rounding ``weight`` (out_features, in_features) to ``matrix`` changed, over that of it.

    0 for a weight of zeros. Never holds the rounded values as a whole.
    """
    changed = total = 0.0
    for rows in _row_chunks(matrix.out_features, matrix.in_features):
        some = weight[rows].astype(np.float64).reshape(-1)
        moved = _dequantize_rows(matrix, rows).reshape(-1) - some
        changed += float(moved @ moved)
        total += float(some @ some)
    return math.sqrt(changed / total) if total else 0.0


def pack_codes(codes: ByteArray, bits: int) -> ByteArray:
    """Pack the last axis, first code in the lowest bits: (..., n) becomes (..., n * bits / 8)."""
    if bits == 8:
        return codes
    per_byte = 8 // bits
    packed = codes[..., 0::per_byte].copy()
    for position in range(1, per_byte):
        packed |= codes[..., position::per_byte] << np.uint8(position * bits)
    return packed


def unpack_codes(packed: ByteArray, bits: int) -> ByteArray:
    """The inverse of ``pack_codes``."""
    if bits == 8:
        return packed
    per_byte = 8 // bits
    codes = np.empty((*packed.shape[:-1], packed.shape[-1] * per_byte), np.uint8)
    for position in range(per_byte):
        codes[..., position::per_byte] = (packed >> np.uint8(position * bits)) & np.uint8((1 << bits) - 1)
    return codes


def stack_rows(matrices: list[QuantizedMatrix]) -> QuantizedMatrix:
    """Matrices of one spec and one ``in_features``, stacked along ``out_features``."""
    first = matrices[0]
    zero_points = [matrix.zero_points for matrix in matrices if matrix.zero_points is not None]
    return QuantizedMatrix(
        np.concatenate([matrix.packed for matrix in matrices]),
        np.concatenate([matrix.scales for matrix in matrices]),
        np.concatenate(zero_points) if zero_points else None,
        first.spec,
        first.in_features,
    )


def take_rows(matrix: QuantizedMatrix, start: int, stop: int) -> QuantizedMatrix:
    """Rows ``start`` to ``stop`` of a matrix."""
    zero_points = None if matrix.zero_points is None else matrix.zero_points[start:stop]
    return QuantizedMatrix(
        matrix.packed[start:stop], matrix.scales[start:stop], zero_points, matrix.spec, matrix.in_features
    )


def _dequantize_rows(matrix: QuantizedMatrix, rows: slice) -> FloatArray:
    spec, n_blocks = matrix.spec, matrix.scales.shape[1]
    zero: npt.NDArray[np.float32] | np.float32
    codes = unpack_codes(matrix.packed[rows], spec.bits).astype(np.float32)
    if matrix.zero_points is None:
        zero = np.float32(1 << (spec.bits - 1))
    else:
        zero = unpack_codes(matrix.zero_points[rows], spec.bits)[:, :n_blocks, None].astype(np.float32)
    codes -= zero
    codes *= matrix.scales[rows][:, :, None]
    return codes.reshape(codes.shape[0], -1)[:, : matrix.in_features]


def _row_chunks(out_features: int, in_features: int) -> Iterator[slice]:
    step = max(1, _CHUNK_WEIGHTS // max(1, in_features))
    for start in range(0, out_features, step):
        yield slice(start, min(start + step, out_features))


def _blocks(weight: FloatArray, block_size: int) -> FloatArray:
    """(rows, in_features) as (rows, n_blocks, block_size); the last block is padded with zeros."""
    rows, in_features = weight.shape
    n_blocks = -(-in_features // block_size)
    if n_blocks * block_size != in_features:
        weight = np.pad(weight, ((0, 0), (0, n_blocks * block_size - in_features)))
    return weight.reshape(rows, n_blocks, block_size)


def _extremes(blocks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Least and greatest weight of each block (rows, n_blocks).

    Each block is laid along a column first: numpy compares whole rows at once, but walks a short last axis by itself.
    """
    rows, n_blocks, block_size = blocks.shape
    columns = np.ascontiguousarray(blocks.reshape(-1, block_size).T)  # (block_size, rows * n_blocks)
    low: FloatArray = columns.min(axis=0).reshape(rows, n_blocks)
    high: FloatArray = columns.max(axis=0).reshape(rows, n_blocks)
    return low, high


def _safe(scales: FloatArray) -> FloatArray:
    """A block of zeros has no scale; any other than zero will do."""
    return np.where(scales == 0, np.float32(1), scales)


def to_bfloat16(values: FloatArray) -> FloatArray:
    """The nearest bfloat16 value of no smaller magnitude, still stored as float32: a block's range stays covered."""
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((raw + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)).view(np.float32)


def nearest_bfloat16(values: FloatArray) -> FloatArray:
    """The nearest bfloat16 value, ties to even, still stored as float32; for scales that need not cover a range."""
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32)
    odd = (raw >> np.uint32(16)) & np.uint32(1)
    return ((raw + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)).view(np.float32)


def pack_zeros(zeros: FloatArray, spec: QuantSpec) -> ByteArray | None:
    """Zero points (out_features, n_blocks) as a device reads them: None where the grid is symmetric.

    They fill whole bytes: a row is padded to a multiple of ``8 / bits`` blocks.
    """
    if spec.symmetric:
        return None
    missing = -zeros.shape[1] % (8 // spec.bits)
    return pack_codes(np.pad(zeros.astype(np.uint8), ((0, 0), (0, missing))), spec.bits)


class _Best:
    """The range of least squared error seen so far, for each block."""

    def __init__(
        self, blocks: FloatArray, bits: int, importance: FloatArray | None, scales: FloatArray, zeros: FloatArray
    ) -> None:
        self._blocks, self._bits, self._importance = blocks, bits, importance
        self.scales, self.zeros = scales.copy(), zeros.copy()
        self._errors = self._errors_of(scales, zeros)

    def offer(self, scales: FloatArray, zeros: FloatArray) -> None:
        """Take ``scales`` and ``zeros`` (rows, n_blocks) wherever they are better."""
        errors = self._errors_of(scales, zeros)
        better = errors < self._errors * _CLEARLY
        self.scales[better], self.zeros[better], self._errors[better] = scales[better], zeros[better], errors[better]

    def _errors_of(self, scales: FloatArray, zeros: FloatArray) -> npt.NDArray[np.float64]:
        moved = round_to_levels(self._blocks, scales, zeros, self._bits)
        moved *= scales[:, :, None]
        moved -= self._blocks
        return _sum_products(moved if self._importance is None else moved * self._importance, moved)


def _sum_products(first: FloatArray, second: FloatArray) -> npt.NDArray[np.float64]:
    """Sums (rows, n_blocks) over the blocks of the products, each exact in float64."""
    total: npt.NDArray[np.float64] = np.einsum("rbk,rbk->rb", first, second, dtype=np.float64)
    return total
