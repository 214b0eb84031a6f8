"""Spells every ``Linear`` and the embedding as onnxruntime executes them: MatMulNBits, GatherBlockQuantized or float.

graph, Grid -> graph that onnxruntime executes, Payload

How codes are chosen is the grid's matter, which hands them over row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgelora.checkpoint.names import is_embedding, turned
from edgelora.grid.blocks import stack_rows, take_rows
from edgelora.grid.make import Grid
from edgelora.values import QuantizedMatrix, QuantSpec
from edgelora_onnx.decoder_graph import LINEAR, WeightSource
from edgelora_onnx.initializers import add_payload, remove_unused_initializers
from edgelora_onnx.lowering import name_of, replace_node, rows_key
from edgelora_onnx.payload import Payload
from edgelora_onnx.scale_storage import storage_type

_CONTRIB = "com.microsoft"


class LowerLinears(ir.passes.InPlacePass):
    """After the call, ``payloads`` holds the content of every initializer that this pass made.

    ``as_floats`` stores the values of the grid as float32 instead of its codes: exact, and eight times what int4 takes.
    """

    def __init__(
        self, sources: Mapping[str, WeightSource], grid: Grid, accuracy_level: int, as_floats: bool = False
    ) -> None:
        super().__init__()
        self._sources = sources
        self._grid = grid
        self._specs = {} if as_floats else grid.specs
        self._accuracy_level = accuracy_level
        self._storage = np.float16 if grid.plan.half else np.float32  # of the weights that stay float
        self._wide: dict[str, ir.Value] = {}  # name -> what its Cast gives
        self.payloads: dict[str, Payload] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lower all of them; nothing of the edgelora domain is left."""
        graph = model.graph
        for node in list(graph):
            if node.op_type == LINEAR:
                sources = [self._sources[name_of(weight)] for weight in node.inputs[1:]]
                if sources[0].tensor in self._specs:
                    self._quantized_linear(graph, node, sources)
                else:
                    self._float_linear(graph, node, sources)
            elif node.op_type == "Gather" and self._reads_embedding(node):
                self._embedding(graph, node)
        remove_unused_initializers(graph)
        model.opset_imports[_CONTRIB] = 1
        return ir.passes.PassResult(model, True)

    def ensures(self, model: ir.Model) -> None:
        """A linear that stayed would fail only when onnxruntime loads the file."""
        if any(node.op_type == LINEAR for node in model.graph):
            raise ir.passes.PostconditionError("a linear was not lowered")

    def _reads_embedding(self, node: ir.Node) -> bool:
        table = node.inputs[0]
        source = self._sources.get(table.name or "") if table is not None else None
        return source is not None and is_embedding(source.tensor)

    def _quantized_linear(self, graph: ir.Graph, node: ir.Node, sources: list[WeightSource]) -> None:
        spec = self._specs[sources[0].tensor]
        key = rows_key(sources)
        rows = sum(source.stop - source.start for source in sources)
        in_features = self._grid.in_features(sources[0].tensor)
        n_blocks = -(-in_features // spec.block_size)
        blob = spec.block_size * spec.bits // 8
        inputs = [
            node.inputs[0],
            self._initializer(
                graph, f"{key}.codes", (rows, n_blocks, blob), np.uint8, lambda: self._codes(sources).packed
            ),
            *self._scales_and_zeros(graph, sources, spec, n_blocks),
        ]
        attributes = {
            "K": in_features,
            "N": rows,
            "bits": spec.bits,
            "block_size": spec.block_size,
            "accuracy_level": self._accuracy_level,
        }
        replace_node(graph, node, ir.node("MatMulNBits", inputs, attributes, domain=_CONTRIB, num_outputs=1))

    def _float_linear(self, graph: ir.Graph, node: ir.Node, sources: list[WeightSource]) -> None:
        tied = is_embedding(sources[0].tensor)
        key = rows_key(sources) + ("" if tied else ".transposed")
        rows = sum(source.stop - source.start for source in sources)
        in_features = self._grid.in_features(sources[0].tensor)
        shape = (rows, in_features) if tied else (in_features, rows)
        weight = self._widened(graph, key, shape, self._storage, lambda: self._stacked(sources, transposed=not tied))
        if tied:  # the embedding's own rows serve the head, so they are multiplied as they lie
            lowered = ir.node("FusedMatMul", [node.inputs[0], weight], {"transB": 1}, domain=_CONTRIB, num_outputs=1)
        else:
            lowered = ir.node("MatMul", [node.inputs[0], weight], num_outputs=1)
        replace_node(graph, node, lowered)

    def _embedding(self, graph: ir.Graph, node: ir.Node) -> None:
        source = self._sources[name_of(node.inputs[0])]
        key, rows = rows_key([source]), source.stop - source.start
        spec = self._specs.get(source.tensor)
        if spec is None:
            shape = (rows, self._grid.in_features(source.tensor))
            weight = self._widened(graph, key, shape, self._storage, lambda: self._stacked([source], transposed=False))
            node.replace_input_with(0, weight)
            return
        n_blocks = self._grid.in_features(source.tensor) // spec.block_size
        flat = (rows, n_blocks * spec.block_size * spec.bits // 8)
        inputs = [
            self._initializer(
                graph, f"{key}.codes.rows", flat, np.uint8, lambda: self._codes([source]).packed, key=f"{key}.codes"
            ),
            node.inputs[1],
            *self._scales_and_zeros(graph, [source], spec, n_blocks),
        ]
        attributes = {"bits": spec.bits, "block_size": spec.block_size, "gather_axis": 0, "quantize_axis": 1}
        replace_node(graph, node, ir.node("GatherBlockQuantized", inputs, attributes, domain=_CONTRIB, num_outputs=1))

    def _scales_and_zeros(
        self, graph: ir.Graph, sources: list[WeightSource], spec: QuantSpec, n_blocks: int
    ) -> list[ir.Value]:
        """Scales, and zero points where the grid is asymmetric; the same initializers for an embedding and its head."""
        key, rows = rows_key(sources), sum(source.stop - source.start for source in sources)
        shape, name = (rows, n_blocks), f"{key}.scales"
        scales = [self._grid.matrix(item.tensor).scales[item.start : item.stop] for item in sources]
        values = [self._widened(graph, name, shape, storage_type(scales), lambda: np.concatenate(scales))]
        if not spec.symmetric:
            shape = (rows, -(-n_blocks * spec.bits // 8))
            values.append(self._initializer(graph, f"{key}.zero_points", shape, np.uint8, lambda: self._zeros(sources)))
        return values

    def _widened(self, graph: ir.Graph, name: str, shape: tuple[int, ...], stored: Any, produce: Any) -> ir.Value:
        """A float32 value, stored as float32 or as a narrower type behind a Cast.

        onnxruntime folds the Cast when it loads the graph, before the readers look for a constant. Everyone who asks
        for ``name`` gets the same value, so that it is widened once.
        """
        stored = np.dtype(stored)
        if stored == np.float32:
            return self._initializer(graph, name, shape, stored, produce)
        if name not in self._wide:
            narrow = self._initializer(graph, f"{name}.{stored.name}", shape, stored, produce)
            cast = ir.node("Cast", [narrow], {"to": ir.DataType.FLOAT.value}, num_outputs=1)
            value = cast.outputs[0]
            value.name, value.shape, value.type = name, narrow.shape, ir.TensorType(ir.DataType.FLOAT)
            graph.insert_before(graph.node(0), cast)
            self._wide[name] = value
        return self._wide[name]

    def _initializer(
        self, graph: ir.Graph, name: str, shape: tuple[int, ...], dtype: Any, produce: Any, key: str | None = None
    ) -> ir.Value:
        return add_payload(graph, self.payloads, name, shape, dtype, produce, key)

    def _codes(self, sources: list[WeightSource]) -> QuantizedMatrix:
        return stack_rows([take_rows(self._grid.matrix(item.tensor), item.start, item.stop) for item in sources])

    def _zeros(self, sources: list[WeightSource]) -> npt.NDArray[np.uint8]:
        zero_points = self._codes(sources).zero_points
        assert zero_points is not None
        return zero_points

    def _stacked(self, sources: list[WeightSource], transposed: bool) -> npt.NDArray[np.float32]:
        rows = []
        for source in sources:
            weight = self._grid.value(source.tensor)
            rows.append(turned(source.tensor, weight)[source.start : source.stop])
        stacked = np.concatenate(rows) if len(rows) > 1 else rows[0]
        return stacked.T if transposed else stacked
