"""What would be left of an adapter if it were merged into the weights and the sum quantized.

Grid, Factors -> Survival
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgelora.adapter.delta import shape_of
from edgelora.checkpoint.names import turned, turned_shape, weight_of
from edgelora.errors import AdapterError
from edgelora.grid.blocks import dequantize, quantize, unpack_codes
from edgelora.grid.make import Grid
from edgelora.values import ByteArray, FloatArray, QuantizedMatrix, QuantSpec
from edgelora_runtime.adapter import Factors

Rows = npt.NDArray[np.int64]  # indices of output features

_CHUNK_WEIGHTS = 1 << 21


@dataclass(frozen=True)
class Survival:
    """Of one module. A delta far below the step, few changed codes or a low correlation: merging loses the adapter.

    The weights are compared after rounding: ``value(W + delta) - value(W)`` is what of ``delta`` a device would see.
    """

    step_to_delta: float  # median quantization step over the root mean square of the delta; 0 without quantization
    codes_changed: float  # share of codes that differ once the delta is added; 1 without quantization
    correlation: float  # cosine between the change that is left and the delta; 0 where nothing changes
    weights: int  # of the module


def find_survival(
    grid: Grid,
    factors: Mapping[str, Factors],
    *,
    spec: QuantSpec | None = None,
    from_float: bool = False,
    max_rows: int | None = None,
) -> dict[str, Survival]:
    """Add each delta to the values of ``grid``, quantize again, and compare; the module names are the keys.

    ``spec``: quantize with this one; without it each tensor keeps its own. ``from_float``: add to the float weights,
    which is where an adapter belongs that was trained on them. ``max_rows``: look at this many evenly spread rows a
    module (rows are quantized on their own, so they are a fair sample). Raises AdapterError for an unknown module.
    """
    known = set(grid.checkpoint.names())
    missing = [module for module in factors if weight_of(module) not in known]
    if missing:
        raise AdapterError(
            f"{len(missing)} of {len(factors)} modules are not in {grid.checkpoint.name}, first {missing[0]}; "
            "use an adapter trained for this base"
        )
    return {module: _find(grid, weight_of(module), factors[module], spec, from_float, max_rows) for module in factors}


def summarize(survivals: Mapping[str, Survival]) -> Survival:
    """The mean over modules, each counted by its weights."""
    total = sum(item.weights for item in survivals.values())
    if not total:
        return Survival(0.0, 0.0, 0.0, 0)
    return Survival(
        sum(item.step_to_delta * item.weights for item in survivals.values()) / total,
        sum(item.codes_changed * item.weights for item in survivals.values()) / total,
        sum(item.correlation * item.weights for item in survivals.values()) / total,
        total,
    )


def _find(
    grid: Grid, name: str, item: Factors, spec: QuantSpec | None, from_float: bool, max_rows: int | None
) -> Survival:
    matrix = grid.matrices.get(name)
    chosen = spec or (None if matrix is None else matrix.spec)
    out_features, in_features = shape_of(item)
    if chosen is None:
        return Survival(0.0, 1.0, 1.0, out_features * in_features)
    shape = turned_shape(name, grid.checkpoint.shape(name))
    if shape != (out_features, in_features):
        raise AdapterError(
            f"{name}: B A is {(out_features, in_features)}, the base {shape}; use an adapter made for it"
        )
    read = _reader(grid, name, from_float)
    steps: list[FloatArray] = []
    changed = n_codes = 0
    along = left = added = 0.0
    for rows in _sample(out_features, in_features, max_rows):
        weight = read(rows)
        delta = item.delta(rows)
        before, after = quantize(weight, chosen), quantize(weight + delta, chosen)
        change = dequantize(after) - dequantize(before)
        steps.append(np.abs(before.scales).ravel())
        changed += int(np.count_nonzero(_codes(before) != _codes(after)))
        n_codes += delta.size
        along += float(np.vdot(change, delta))
        left += float(np.vdot(change, change))
        added += float(np.vdot(delta, delta))
    if added == 0:
        return Survival(0.0, 0.0, 0.0, out_features * in_features)
    step = float(np.median(np.concatenate(steps)))
    return Survival(
        step / (added / n_codes) ** 0.5,
        changed / n_codes,
        along / (left * added) ** 0.5 if left else 0.0,
        out_features * in_features,
    )


def _reader(grid: Grid, name: str, from_float: bool) -> Callable[[Rows], FloatArray]:
    """Gives rows of the base as (rows, in_features); of a packed tensor those alone leave their codes."""
    matrix = None if from_float else grid.matrices.get(name)
    if matrix is not None:
        return lambda rows: dequantize(_pick(matrix, rows))
    value = grid.checkpoint.read(name) if from_float else grid.value(name)
    whole = turned(name, value)
    return lambda rows: whole[rows]


def _pick(matrix: QuantizedMatrix, rows: Rows) -> QuantizedMatrix:
    zero_points = None if matrix.zero_points is None else matrix.zero_points[rows]
    return replace(matrix, packed=matrix.packed[rows], scales=matrix.scales[rows], zero_points=zero_points)


def _sample(out_features: int, in_features: int, max_rows: int | None) -> list[Rows]:
    """Indices of the rows to look at, in chunks of neighbours."""
    count = out_features if max_rows is None else min(max_rows, out_features)
    rows = np.arange(count, dtype=np.int64) * out_features // max(1, count)
    return np.array_split(rows, max(1, -(-count * in_features // _CHUNK_WEIGHTS)))


def _codes(matrix: QuantizedMatrix) -> ByteArray:
    """The codes as (out_features, in_features), without the padding of the last block."""
    codes = unpack_codes(matrix.packed, matrix.spec.bits)
    return codes.reshape(codes.shape[0], -1)[:, : matrix.in_features]
