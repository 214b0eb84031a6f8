"""The values of a grid rounded to 8 bits with one step for each whole row, as integer kernels without blocks multiply.

QuantizedMatrix -> RowMatrix -> Grid

The grid stays what it is: this is the arithmetic of a device, as rounded activations are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelora.checkpoint.names import is_embedding, is_layer_linear, turned
from edgelora.grid.blocks import dequantize
from edgelora.grid.make import Grid, GridSpec
from edgelora.values import ByteArray, FloatArray, QuantizedMatrix, Task, TokenizerFiles

ROW_ZERO = 128  # the code of zero; codes reach from 1 to 255
_LARGEST_CODE = 127


@dataclass(frozen=True)
class RowMatrix:
    """``weight * factor = (code - 128) * step``: a step for each row, a factor for each column."""

    codes: ByteArray  # (out_features, in_features)
    steps: FloatArray  # (out_features,)
    factors: FloatArray | None = None  # (in_features,) powers of two; None is one everywhere


def round_rows(matrix: QuantizedMatrix, factors: FloatArray | None = None) -> RowMatrix:
    """The nearest codes of the weight times ``factors``; of a row the entry of largest magnitude is exact."""
    weight = dequantize(matrix)  # (out_features, in_features)
    if factors is not None:
        weight *= factors
    steps = np.abs(weight).max(axis=1) / np.float32(_LARGEST_CODE)
    steps[steps == 0] = 1  # a row of zeros has no step; any other than zero will do
    weight /= steps[:, None]
    np.rint(weight, out=weight)
    weight += ROW_ZERO
    return RowMatrix(weight.astype(np.uint8), steps, factors)


def column_factors(importance: Mapping[str, FloatArray]) -> Mapping[str, FloatArray]:
    """What makes the inputs of each linear of the layers more alike: the root of their size, as a power of two.

    ``importance`` are the mean squares of the inputs (in_features,) by tensor name, whole powers of two times their
    mean. A product stays what it is where an input is divided by what its column is multiplied by, and rounding an
    input to 8 bits then loses a quarter as much.
    """
    return {
        name: np.exp2(np.rint(np.log2(squares) / 4)).astype(np.float32)
        for name, squares in importance.items()
        if is_layer_linear(name)
    }


def as_rows(grid: Grid, tables: bool = True) -> Grid:
    """The grid that integer kernels without blocks really multiply with: floats of ``round_rows`` in place of codes.

    Without ``tables`` an embedding keeps its codes.
    """
    kept = {} if tables else {name: matrix for name, matrix in grid.matrices.items() if is_embedding(name)}
    return dataclasses.replace(grid, checkpoint=_RowValues(grid), plan=GridSpec("rows", None), matrices=kept)


def row_values(rows: RowMatrix) -> FloatArray:
    """What the device multiplies with: (out_features, in_features)."""
    values: FloatArray = (rows.codes.astype(np.float32) - ROW_ZERO) * rows.steps[:, None]
    return values if rows.factors is None else values / rows.factors


@dataclass(frozen=True)
class _RowValues:
    """The checkpoint of a grid, each tensor that has codes rounded to rows once more."""

    grid: Grid

    @property
    def name(self) -> str:
        return self.grid.checkpoint.name

    @property
    def config(self) -> Mapping[str, Any]:
        return self.grid.checkpoint.config

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        return self.grid.checkpoint.eos_token_ids

    @property
    def tokenizer(self) -> TokenizerFiles | None:
        return self.grid.checkpoint.tokenizer

    @property
    def notes(self) -> tuple[str, ...]:
        return self.grid.checkpoint.notes

    @property
    def task(self) -> Task:
        return self.grid.checkpoint.task

    def names(self) -> tuple[str, ...]:
        return self.grid.checkpoint.names()

    def head_names(self) -> tuple[str, ...]:
        return self.grid.checkpoint.head_names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self.grid.checkpoint.shape(name)

    def read(self, name: str) -> FloatArray:
        if name not in self.grid.matrices:
            return self.grid.value(name)
        values = row_values(round_rows(self.grid.matrix(name), self.grid.column_factors.get(name)))
        return turned(name, values)

    def packed(self, name: str) -> QuantizedMatrix | None:
        return None
