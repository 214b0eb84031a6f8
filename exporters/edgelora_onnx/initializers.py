"""Constants of a graph: adding one, reading its shape, dropping those that nothing reads.

Knows nothing about what a constant is for.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import onnx_ir as ir


def add_constant(graph: ir.Graph, name: str, array: npt.NDArray[Any]) -> ir.Value:
    """Register ``array`` as the initializer ``name``."""
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def remove_unused_initializers(graph: ir.Graph) -> None:
    """Drop every initializer that no node reads."""
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """The shape of a value that has no symbolic dimension, such as an initializer."""
    if value is None or value.shape is None:
        raise AssertionError("an initializer without a shape")
    return tuple(int(size) for size in value.shape if isinstance(size, int))
