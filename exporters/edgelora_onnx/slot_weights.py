"""Reads back what the linears beside slots multiply with, from a graph that was written.

graph with slots, Slot -> weights by module

Codes are followed from the slot's inputs, whatever operator multiplies with them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgelora.artifact.targets import MATMUL_INTEGER, MATMUL_NBITS
from edgelora.grid.blocks import dequantize
from edgelora.values import FloatArray, QuantizedMatrix, QuantSpec
from edgelora_onnx.lowering import name_of
from edgelora_onnx.passes.lower_to_integers import FACTORS
from edgelora_onnx.slots import linear_of
from edgelora_runtime.manifest import Slot

_ROUNDING = ("Concat", "QuantizeLinear", "Div", "Unsqueeze")  # from bytes up to the inputs that they stand for


def read_slot_weights(graph: Path, slots: Sequence[Slot], modules: Collection[str]) -> Iterator[tuple[str, FloatArray]]:
    """Module -> weight (out_features, in_features) of those ``modules`` that slots have, one linear at a time."""
    model = ir.load(graph)
    inputs = {value.name: value for value in model.graph.inputs}
    for slot in slots:
        parts = [part for part in slot.parts if part.module in modules]
        if not parts:
            continue
        weight = np.concatenate([_weight(node) for node in _products(linear_of(inputs[slot.a]))])
        for part in parts:
            yield part.module, weight[part.offset : part.offset + part.out_features]


def _products(value: ir.Value | None) -> list[ir.Node]:
    """The nodes that multiply with weights, in the order of their columns, behind which ``value`` comes."""
    assert value is not None
    node = value.producer()
    assert node is not None
    if node.op_type in (MATMUL_NBITS, MATMUL_INTEGER) or (node.op_type == "MatMul" and _array(node.inputs[1])):
        return [node]
    if node.op_type == "Concat":
        return [found for item in node.inputs for found in _products(item)]
    return _products(node.inputs[1 if node.op_type == "MatMul" else 0])  # two rows of bytes are joined by a MatMul


def _weight(node: ir.Node) -> FloatArray:
    if node.op_type == MATMUL_NBITS:
        bits, block_size, in_features = (node.attributes[name].as_int() for name in ("bits", "block_size", "K"))
        zeros = node.inputs[3] if len(node.inputs) > 3 else None
        spec = QuantSpec(bits, block_size, symmetric=zeros is None)
        codes, scales = _numbers(node.inputs[1]), _numbers(node.inputs[2])
        zero_points = None if zeros is None else _numbers(zeros).reshape(len(codes), -1)
        scales = scales.reshape(len(codes), -1).astype(np.float32)
        return dequantize(QuantizedMatrix(codes, scales, zero_points, spec, in_features))
    codes = _numbers(node.inputs[1]).astype(np.float32).T
    if node.op_type == MATMUL_INTEGER:
        codes = (codes - _numbers(node.inputs[5]).astype(np.float32)) * _numbers(node.inputs[3])[:, None]
        codes *= _factors(node.inputs[0])
    weight: FloatArray = codes
    return weight


def _factors(codes: ir.Value | None) -> npt.NDArray[Any] | np.float32:
    """What the inputs whose bytes these are were multiplied with before they were rounded."""
    step = codes
    while step is not None and (node := step.producer()) is not None:
        if node.op_type == "Mul" and name_of(node.inputs[1]).endswith(FACTORS):
            return _numbers(node.inputs[1])
        if node.op_type not in _ROUNDING:
            break
        step = node.inputs[0]
    return np.float32(1)


def _array(value: ir.Value | None) -> Any | None:
    """A constant, through the Cast that widens it; None where a value is computed."""
    assert value is not None
    if value.const_value is not None:
        return value.const_value
    cast = value.producer()
    return _array(cast.inputs[0]) if cast is not None and cast.op_type == "Cast" else None


def _numbers(value: ir.Value | None) -> npt.NDArray[Any]:
    found = _array(value)
    assert found is not None
    numbers: npt.NDArray[Any] = found.numpy()
    return numbers
