"""Turns the decoder graph into its onnxruntime-genai twin: same weights file, genai's inputs, adapters as overridable.

graph, Slot -> twin for onnxruntime-genai

``LoraAdapter`` of the C#, Java and Swift bindings reads the same form; optimum and transformers.js take it for a graph
of optimum's, whose inputs these are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgelora_onnx.node_builder import NodeBuilder
from edgelora_runtime.manifest import Slot

BATCH = "batch_size"
ON_THE_LEFT = "rows_must_not_be_padded_on_the_left"


class GenaiTwin(ir.passes.InPlacePass):
    """``attention_mask`` drives the counters, the head answers for the last token, and no adapter means rank 0."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        super().__init__()
        self._slots = slots

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewire the inputs; the layers stay as they are."""
        graph = model.graph
        inputs = {value.name: value for value in graph.inputs}
        mask = ir.Value(name="attention_mask", shape=ir.Shape([BATCH, "total"]), type=ir.TensorType(ir.DataType.INT64))
        graph.inputs.insert(1, mask)
        self._drive(graph, inputs, mask)
        for name in ("seqlens_k", "total_sequence_length", "logits_positions"):
            graph.inputs.remove(inputs[name])
        for slot in self._slots:
            _give_default(graph, inputs[slot.a], (1, slot.in_features, 0))
            _give_default(graph, inputs[slot.b], (1, 0, slot.out_features))
            if slot.gain is not None:
                _give_default(graph, inputs[slot.gain], (1, 1, slot.out_features))
        for value in (*graph.inputs, *graph.outputs):
            _name_batch(value)
        return ir.passes.PassResult(model, True)

    def _drive(self, graph: ir.Graph, inputs: dict[str | None, ir.Value], mask: ir.Value) -> None:
        nodes = NodeBuilder(graph, "genai")
        add, constant = nodes.add, nodes.constant
        int32 = ir.DataType.INT32.value
        zero, one, axis = constant("zero", 0), constant("one", 1), constant("axis", [1])
        # Attention counts a row's tokens from its start. Rows that are padded there, as transformers pads a batch,
        # would get other answers: this index is then beyond its list, and the run fails with the node's name.
        starts = add("Gather", [mask, zero], axis=1)  # (batch), 1 where a row begins with a token
        checked = add("Gather", [constant("list", [0]), add("Sub", [one, starts])])
        node = checked.producer()
        assert node is not None
        node.name = ON_THE_LEFT
        counted = add("ReduceSum", [mask, axis], keepdims=0)
        last = add("Sub", [add("Add", [counted, checked]), one])  # (batch)
        total = add("Squeeze", [add("Shape", [mask], start=1, end=2)])  # ()
        length = add("Squeeze", [add("Shape", [inputs["input_ids"]], start=1, end=2)])  # ()
        position = add("Max", [add("Sub", [last, add("Sub", [total, length])]), zero])  # (batch)
        inputs["seqlens_k"].replace_all_uses_with(add("Cast", [last], to=int32))
        inputs["total_sequence_length"].replace_all_uses_with(add("Cast", [total], to=int32))
        inputs["logits_positions"].replace_all_uses_with(add("Unsqueeze", [position, axis]))
        nodes.insert_first()


def _give_default(graph: ir.Graph, value: ir.Value, shape: tuple[int, ...]) -> None:
    """An input that is an initializer as well may be fed or left out."""
    value.const_value = ir.Tensor(np.zeros(shape, np.float32), name=value.name)
    graph.register_initializer(value)


def _name_batch(value: ir.Value) -> None:
    """transformers.js makes an empty cache of the dimensions it knows by name; every other one is 0 to it."""
    if value.shape is not None:
        sizes = [BATCH if getattr(size, "value", None) == "batch" else size for size in value.shape]
        value.shape = ir.Shape(sizes)
