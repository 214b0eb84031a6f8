"""The default of int4: which tensors get 4 bits in wide or narrow blocks and which 8, in the bytes of one plain grid.

Checkpoint, GridSpec, Calibration -> GridSpec
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgelora.checkpoint.names import is_vocabulary, turned, turned_shape
from edgelora.grid.bits import group_tensors, stored_bytes
from edgelora.grid.blocks import dequantize, quantize, quantize_ranges
from edgelora.grid.hull import spend
from edgelora.grid.make import GridSpec, choose_spec
from edgelora.grid.moments import Calibration
from edgelora.progress import SILENT, Progress
from edgelora.values import Checkpoint, FloatArray, QuantizedMatrix, QuantSpec

SPECS = (QuantSpec(4, 32, symmetric=False), QuantSpec(8, 32, symmetric=True))  # of a linear: plain and wide
NARROW = QuantSpec(4, 16, symmetric=False)  # of the embedding and the head
_SAMPLED_ROWS = 256
_OUTERMOST = 2  # layers at either end, whose errors no other layer sees or all the others carry on
_OUTERMOST_WEIGHT = 4.0
_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h)\.(\d+)\.")


@dataclass(frozen=True)
class _Group:
    tensors: tuple[str, ...]
    errors: Mapping[int, float]  # place in SPECS -> error
    costs: Mapping[int, int]  # bytes


def spread_bits(
    checkpoint: Checkpoint, plan: GridSpec, calibration: Calibration, progress: Progress = SILENT
) -> GridSpec:
    """``plan`` with 4 bits in blocks of 16 for the vocabulary, and 8 bits for as many linears as that pays for.

    Those bytes are what int4 in blocks of 32 takes with an embedding and a head of 8 bits. What rounding does to a
    tensor is the share of its output's energy that is disturbed, inputs taken as independent: measured on a sample of
    rows, with the inputs' powers of two, added in float64, so that every machine chooses alike. The two outermost
    layers at either end count four times. q/k/v and gate/up are decided together, as an artifact packs them. Codes of
    4 bits that a file has are kept.
    """
    plain, wide = SPECS
    shapes = {name: checkpoint.shape(name) for name in checkpoint.names()}
    names = [name for name, shape in shapes.items() if choose_spec(name, shape, plan) is not None]
    tables = {
        name: plain if _keeps(checkpoint.packed(name), plain) else NARROW for name in names if is_vocabulary(name)
    }
    linears = [name for name in names if name not in tables]
    layers = sorted({int(found[1]) for name in linears if (found := _LAYER.search(name))})
    outermost = {*layers[:_OUTERMOST], *layers[-_OUTERMOST:]}
    errors = {name: _errors(checkpoint, name, calibration) for name in progress.track(linears, "grid", "tensor")}
    groups = [
        _Group(
            members,
            {place: _weight(members[0], outermost) * sum(errors[name][place] for name in members) for place in (0, 1)},
            {place: sum(_bytes(name, shapes[name], SPECS[place]) for name in members) for place in (0, 1)},
        )
        for members in group_tensors(linears)
    ]
    freed = sum(_bytes(name, shapes[name], wide) - _bytes(name, shapes[name], spec) for name, spec in tables.items())
    chosen, _ = spend(groups, freed + sum(group.costs[0] for group in groups))
    specs = tables | {name: SPECS[place] for group, place in zip(groups, chosen, strict=True) for name in group.tensors}
    own = {name: spec for name, spec in specs.items() if spec != choose_spec(name, shapes[name], plan)}
    return dataclasses.replace(plan, overrides=own)


def _keeps(own: QuantizedMatrix | None, spec: QuantSpec) -> bool:
    """Whether the file's own codes are of ``spec``."""
    return own is not None and own.spec in (spec, dataclasses.replace(spec, symmetric=True))


def _weight(name: str, outermost: set[int]) -> float:
    found = _LAYER.search(name)
    return _OUTERMOST_WEIGHT if found is not None and int(found[1]) in outermost else 1.0


def _errors(checkpoint: Checkpoint, name: str, calibration: Calibration) -> Mapping[int, float]:
    weight, own = turned(name, checkpoint.read(name)), checkpoint.packed(name)
    rows = np.ascontiguousarray(weight[:: -(-len(weight) // _SAMPLED_ROWS)])
    importance = calibration.importance.get(name, np.ones(rows.shape[1], np.float32))
    energy = _energy(rows, importance)
    errors = {}
    for place, spec in enumerate(SPECS):
        if energy == 0 or _keeps(own, spec):
            errors[place] = 0.0  # the file's own codes are kept
            continue
        matrix = quantize(rows, spec) if spec.bits == 8 else quantize_ranges(rows, spec, importance)
        errors[place] = _energy(dequantize(matrix) - rows, importance) / energy
    return errors


def _energy(rows: FloatArray, importance: FloatArray) -> float:
    wide = rows.astype(np.float64)
    return float(np.einsum("rk,rk,k->", wide, wide, importance.astype(np.float64)))


def _bytes(name: str, shape: tuple[int, ...], spec: QuantSpec) -> int:
    out_features, in_features = turned_shape(name, shape)
    return sum(stored_bytes(out_features, in_features, spec))
