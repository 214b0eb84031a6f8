"""Constants of a graph: adding one, reading its shape, dropping those that nothing reads.

graph, array or Payload -> graph with the constant
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgelora_onnx.payload import Payload


def add_constant(graph: ir.Graph, name: str, array: npt.NDArray[Any]) -> ir.Value:
    """Register ``array`` as the initializer ``name``."""
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def keep_constant(graph: ir.Graph, name: str, array: npt.NDArray[Any]) -> ir.Value:
    """The initializer ``name``, registered as ``array`` where there is none yet: for what many nodes share."""
    return graph.initializers[name] if name in graph.initializers else add_constant(graph, name, array)


def add_payload(
    graph: ir.Graph,
    payloads: MutableMapping[str, Payload],
    name: str,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    produce: Callable[[], npt.NDArray[Any]],
    key: str | None = None,
) -> ir.Value:
    """Register the initializer ``name``, whose content is produced when it is written; the same value when asked again.

    Two initializers with one ``key`` share their bytes.
    """
    if name not in graph.initializers:
        dtype = np.dtype(dtype)
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.from_numpy(dtype)))
        graph.initializers[name] = value
        payloads[name] = Payload(key or name, shape, dtype, produce)
    return graph.initializers[name]


def remove_unused_initializers(graph: ir.Graph) -> None:
    """Drop every initializer that no node reads."""
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """The shape of a value that has no symbolic dimension, such as an initializer."""
    if value is None or value.shape is None:
        raise AssertionError("an initializer without a shape")
    return tuple(int(size) for size in value.shape if isinstance(size, int))
