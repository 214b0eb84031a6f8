"""What no pass has lowered: norms, biases and position tables stay float, and weights of one kind may share a node.

sources, Grid -> Payload of every float initializer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgelora.checkpoint.names import is_transposed
from edgelora.grid.make import Grid
from edgelora_onnx.decoder_graph import WeightSource
from edgelora_onnx.initializers import shape_of
from edgelora_onnx.passes.unpack_linears import MayPack
from edgelora_onnx.payload import Payload


def left_float(model: ir.Model, sources: Mapping[str, WeightSource], grid: Grid) -> Mapping[str, Payload]:
    """The content of every initializer that comes from the checkpoint and that no pass has made anew."""
    payloads = {}
    for name, value in model.graph.initializers.items():
        if value.const_value is None and name in sources:
            source = sources[name]
            shape = (source.stop - source.start, *shape_of(value)[1:])
            payloads[name] = Payload(name, shape, np.float32, _reader(grid, source))
    return payloads


def may_pack_of(sources: Mapping[str, WeightSource], grid: Grid) -> MayPack:
    """One node can hold weights of one spec, or weights that all stay float."""
    specs = grid.specs
    return lambda names: len({specs.get(sources[name].tensor) for name in names}) == 1


def _reader(grid: Grid, source: WeightSource) -> Any:
    def read() -> npt.NDArray[np.float32]:
        return grid.value(source.tensor)[source.start : source.stop]

    assert not is_transposed(source.tensor)
    return read
