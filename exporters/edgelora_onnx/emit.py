"""Writes a decoder graph and its weights as two files.

graph, Payload -> two files

Payloads are computed and written one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgelora_onnx.payload import Payload

_INLINE_BYTES = 1024  # constants smaller than this stay in the graph
_PAGE_BYTES = 4096  # large tensors start on a page, so that a runtime can map them


def emit(model: ir.Model, payloads: Mapping[str, Payload], folder: Path, graph_file: str, weights_file: str) -> None:
    """Write ``graph_file`` and ``weights_file`` into ``folder``; every initializer needs a value or a payload."""
    offsets: dict[str, tuple[int, int]] = {}  # payload key -> offset and length in bytes
    with (folder / weights_file).open("wb") as stream:
        for name, value in model.graph.initializers.items():
            payload = _payload_of(name, value, payloads)
            if payload is None:
                continue
            if payload.key not in offsets:
                stream.write(b"\0" * (-stream.tell() % (_PAGE_BYTES if payload.size_bytes >= _PAGE_BYTES else 64)))
                offsets[payload.key] = stream.tell(), payload.size_bytes
                content = np.ascontiguousarray(payload.produce(), payload.dtype)
                if content.nbytes != payload.size_bytes:
                    raise AssertionError(f"{name}: {content.nbytes} bytes for a payload of {payload.size_bytes}")
                stream.write(content.reshape(-1).view(np.uint8).data)
            offset, length = offsets[payload.key]
            value.const_value = ir.ExternalTensor(
                weights_file, offset, length, _dtype(payload), shape=ir.Shape(payload.shape), name=name, base_dir=folder
            )
    ir.save(model, folder / graph_file)


def _payload_of(name: str, value: ir.Value, payloads: Mapping[str, Payload]) -> Payload | None:
    if name in payloads:
        return payloads[name]
    tensor = value.const_value
    if tensor is None:
        raise AssertionError(f"initializer {name} has neither a value nor a payload")
    if tensor.nbytes < _INLINE_BYTES:
        return None
    array = tensor.numpy()
    return Payload(name, array.shape, array.dtype, lambda: array)


def _dtype(payload: Payload) -> ir.DataType:
    return ir.DataType.from_numpy(np.dtype(payload.dtype))
