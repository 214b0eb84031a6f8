"""Blockwise rounding of one weight matrix, and its exact inverse.

Knows nothing about models: which tensors are quantized is decided in ``grid``.

Source of the layout: the ``MatMulNBits`` operator of onnxruntime's com.microsoft domain.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgelora.types import ByteArray, FloatArray, QuantizedMatrix, QuantSpec

_CHUNK_WEIGHTS = 1 << 21  # rows are independent, so a few megabytes at a time keep temporaries small


def quantize(weight: FloatArray, spec: QuantSpec) -> QuantizedMatrix:
    """Round ``weight`` (out_features, in_features) to the nearest point of its grid; deterministic.

    Symmetric: the entry of largest magnitude in a block becomes the lowest code. Asymmetric: the block's range, widened
    to hold zero, is divided evenly. Scales are rounded to bfloat16 first, because some ARM kernels drop the lower bits.
    """
    out_features, in_features = weight.shape
    n_blocks = -(-in_features // spec.block_size)
    packed = np.empty((out_features, n_blocks, spec.block_size * spec.bits // 8), np.uint8)
    scales = np.empty((out_features, n_blocks), np.float32)
    zero_codes = None if spec.symmetric else np.empty((out_features, n_blocks), np.uint8)
    for rows in _row_chunks(out_features, in_features):
        blocks = _blocks(weight[rows], spec.block_size)  # (rows, n_blocks, block_size)
        if zero_codes is None:
            codes, scales[rows] = _round_symmetric(blocks, spec.bits)
        else:
            codes, scales[rows], zero_codes[rows] = _round_asymmetric(blocks, spec.bits)
        packed[rows] = pack_codes(codes, spec.bits)
    zero_points = None if zero_codes is None else pack_codes(_pad_codes(zero_codes, spec.bits), spec.bits)
    return QuantizedMatrix(packed, scales, zero_points, spec, in_features)


def dequantize(matrix: QuantizedMatrix) -> FloatArray:
    """The values a device multiplies with: (out_features, in_features) float32."""
    spec, n_blocks = matrix.spec, matrix.scales.shape[1]
    weight = np.empty((matrix.out_features, matrix.in_features), np.float32)
    zero: npt.NDArray[np.float32] | np.float32
    for rows in _row_chunks(matrix.out_features, matrix.in_features):
        codes = unpack_codes(matrix.packed[rows], spec.bits).astype(np.float32)
        if matrix.zero_points is None:
            zero = np.float32(1 << (spec.bits - 1))
        else:
            zero = unpack_codes(matrix.zero_points[rows], spec.bits)[:, :n_blocks, None].astype(np.float32)
        codes -= zero
        codes *= matrix.scales[rows][:, :, None]
        weight[rows] = codes.reshape(codes.shape[0], -1)[:, : matrix.in_features]
    return weight


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


def _round_symmetric(blocks: FloatArray, bits: int) -> tuple[ByteArray, FloatArray]:
    half = 1 << (bits - 1)
    low, high = blocks.min(axis=-1), blocks.max(axis=-1)
    extreme = np.where(high > -low, high, low)  # (rows, n_blocks)
    scales = _safe(to_bfloat16(extreme / -half))
    codes = blocks / scales[:, :, None]
    np.rint(codes, out=codes)
    np.clip(codes, -half, half - 1, out=codes)
    codes += half
    return codes.astype(np.uint8), scales


def _round_asymmetric(blocks: FloatArray, bits: int) -> tuple[ByteArray, FloatArray, ByteArray]:
    top = (1 << bits) - 1
    low = np.minimum(blocks.min(axis=-1), 0.0)
    high = np.maximum(blocks.max(axis=-1), 0.0)
    scales = _safe(to_bfloat16((high - low) / top))
    zeros = np.clip(np.rint(-low / scales), 0, top)
    codes = blocks / scales[:, :, None]
    np.rint(codes, out=codes)
    codes += zeros[:, :, None]
    np.clip(codes, 0, top, out=codes)
    return codes.astype(np.uint8), scales, zeros.astype(np.uint8)


def _safe(scales: FloatArray) -> FloatArray:
    """A block of zeros has no scale; any other than zero will do."""
    return np.where(scales == 0, np.float32(1), scales)


def to_bfloat16(values: FloatArray) -> FloatArray:
    """The nearest bfloat16 value of no smaller magnitude, still stored as float32: a block's range stays covered."""
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((raw + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)).view(np.float32)


def _pad_codes(codes: ByteArray, bits: int) -> ByteArray:
    """Zero points fill whole bytes: pad (out_features, n_blocks) to a multiple of ``8 / bits`` blocks."""
    missing = -codes.shape[1] % (8 // bits)
    return np.pad(codes, ((0, 0), (0, missing))) if missing else codes
