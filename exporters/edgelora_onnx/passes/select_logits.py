"""Computes the head only at the positions that the caller asks for, through the input ``logits_positions``.

graph -> graph with one more input

The last position is wanted to generate, all of an answer to score it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgelora_onnx.decoder_graph import LINEAR
from edgelora_onnx.initializers import add_constant


class SelectLogits(ir.passes.InPlacePass):
    """``logits`` becomes (batch, positions, vocab_size); the head is most of a small model's prefill."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Gather the hidden states in front of the head."""
        graph = model.graph
        head = _find_head(graph)
        hidden = head.inputs[0]
        assert hidden is not None
        positions = ir.Value(
            name="logits_positions", shape=ir.Shape(["batch", "positions"]), type=ir.TensorType(ir.DataType.INT64)
        )
        graph.inputs.insert(_index_after(graph, "total_sequence_length"), positions)
        axis = add_constant(graph, "logits_positions.axis", np.array([-1], np.int64))
        indices = ir.node("Unsqueeze", [positions, axis], num_outputs=1)  # (batch, positions, 1)
        picked = ir.node("GatherND", [hidden, indices.outputs[0]], {"batch_dims": 1}, num_outputs=1)
        indices.outputs[0].name, picked.outputs[0].name = "logits_positions.indices", "logits_positions.hidden"
        graph.insert_before(head, [indices, picked])
        head.replace_input_with(0, picked.outputs[0])
        logits = next(output for output in graph.outputs if output.name == "logits")
        logits.shape = ir.Shape(["batch", "positions", logits.shape[-1] if logits.shape else None])
        return ir.passes.PassResult(model, True)


def _find_head(graph: ir.Graph) -> ir.Node:
    value = next(output for output in graph.outputs if output.name == "logits")
    while True:
        node = value.producer()
        if node is None:
            raise ir.passes.PreconditionError("no linear leads to the logits")
        if node.op_type == LINEAR:
            return node
        first = node.inputs[0]
        assert first is not None
        value = first


def _index_after(graph: ir.Graph, name: str) -> int:
    return 1 + [value.name for value in graph.inputs].index(name)
