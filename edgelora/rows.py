"""The values of a grid rounded to 8 bits with one step for each whole row, as integer kernels without blocks multiply.

Knows nothing about graphs. The grid stays what it is: this is the arithmetic of a device, as rounded activations are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgelora.quantize import dequantize
from edgelora.types import ByteArray, FloatArray, QuantizedMatrix

ROW_ZERO = 128  # the code of zero; codes reach from 1 to 255
_LARGEST_CODE = 127


@dataclass(frozen=True)
class RowMatrix:
    """``weight = (code - 128) * step`` of its row."""

    codes: ByteArray  # (out_features, in_features)
    steps: FloatArray  # (out_features,)


def round_rows(matrix: QuantizedMatrix) -> RowMatrix:
    """The nearest codes; the entry of largest magnitude of a row is exact."""
    weight = dequantize(matrix)  # (out_features, in_features)
    steps = np.abs(weight).max(axis=1) / np.float32(_LARGEST_CODE)
    steps[steps == 0] = 1  # a row of zeros has no step; any other than zero will do
    weight /= steps[:, None]
    np.rint(weight, out=weight)
    weight += ROW_ZERO
    return RowMatrix(weight.astype(np.uint8), steps)


def row_values(rows: RowMatrix) -> FloatArray:
    """What the device multiplies with: (out_features, in_features)."""
    values: FloatArray = (rows.codes.astype(np.float32) - ROW_ZERO) * rows.steps[:, None]
    return values
