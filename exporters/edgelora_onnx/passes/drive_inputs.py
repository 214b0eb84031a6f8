"""Replaces ``attention_mask`` and ``position_ids`` by the two counters that GroupQueryAttention really reads.

graph -> graph with two counters as inputs

A runtime keeps both in place and updates a few bytes for each token.
"""

from __future__ import annotations

import onnx_ir as ir

from edgelora_onnx.initializers import remove_unused_initializers
from edgelora_onnx.node_builder import NodeBuilder


class DriveInputs(ir.passes.InPlacePass):
    """New inputs: ``seqlens_k`` int32 (batch) and ``total_sequence_length`` int32 ()."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewire every attention node; positions of a learned table are computed in the graph."""
        graph = model.graph
        inputs = {value.name: value for value in graph.inputs}
        if "attention_mask" not in inputs:
            return ir.passes.PassResult(model, False)
        seqlens_k = _input("seqlens_k", ir.DataType.INT32, ["batch"])
        total = _input("total_sequence_length", ir.DataType.INT32, [])
        graph.inputs.insert(1, seqlens_k)
        graph.inputs.insert(2, total)
        for node in graph:
            if node.op_type == "GroupQueryAttention":
                node.replace_input_with(5, seqlens_k)
                node.replace_input_with(6, total)
        positions = inputs.get("position_ids")
        if positions is not None:
            if positions.uses():
                _compute_positions(graph, positions, inputs["input_ids"], seqlens_k, total)
            graph.inputs.remove(positions)
        remove_dead_nodes(graph)
        graph.inputs.remove(inputs["attention_mask"])
        return ir.passes.PassResult(model, True)


def _input(name: str, dtype: ir.DataType, shape: list[str]) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))


def _compute_positions(graph: ir.Graph, positions: ir.Value, ids: ir.Value, seqlens: ir.Value, total: ir.Value) -> None:
    """Position = start + index, where start is 0 when the cache is empty and the row's cached length otherwise."""
    int64 = ir.DataType.INT64.value
    nodes = NodeBuilder(graph, "positions")
    add, constant = nodes.add, nodes.constant
    zero, one, axis = constant("zero", 0), constant("one", 1), constant("axis", [1])
    length = add("Squeeze", [add("Shape", [ids], start=1, end=2)])  # ()
    cached = add("Sub", [add("Add", [add("Cast", [seqlens], to=int64), one]), length])  # (batch)
    is_first = add("Equal", [add("Cast", [total], to=int64), length])  # ()
    start = add("Unsqueeze", [add("Where", [is_first, zero, cached]), axis])  # (batch, 1)
    result = add("Add", [start, add("Range", [zero, length, one])])  # (batch, sequence)
    nodes.insert_first()
    positions.replace_all_uses_with(result)


def remove_dead_nodes(graph: ir.Graph) -> None:
    """Drop every node that nothing reads, and then every initializer."""
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
    remove_unused_initializers(graph)
