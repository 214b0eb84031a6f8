"""Makes one vector of a text out of those of its tokens: mean, first or last token, and length 1 where asked for.

graph that ends in last_hidden_state -> graph that ends in embeddings
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgelora_onnx.initializers import add_constant, keep_constant

POOLINGS = ("mean", "cls", "lasttoken")

_NO_TOKENS = 1e-9  # what sentence-transformers divides by where a text has none
_NO_LENGTH = 1e-12  # and a vector of length 0


class PoolTokens(ir.passes.InPlacePass):
    """Padding counts for nothing; texts are padded on the right."""

    def __init__(self, pooling: str, normalize: bool) -> None:
        super().__init__()
        self._pooling = pooling
        self._normalize = normalize

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace the output."""
        graph = model.graph
        hidden = next(value for value in graph.outputs if value.name == "last_hidden_state")
        mask = next(value for value in graph.inputs if value.name == "attention_mask")
        size = hidden.shape[-1] if hidden.shape is not None else None

        def add(op: str, inputs: list[ir.Value], name: str, **attributes: int | float) -> ir.Value:
            node = ir.node(op, inputs, attributes, num_outputs=1)
            node.outputs[0].name = f"pooling.{name}"
            graph.append(node)
            return node.outputs[0]

        def axis(value: int) -> ir.Value:
            return keep_constant(graph, f"pooling.axis.{value}", np.array([value], np.int64))

        if self._pooling == "mean":
            weight = add("Unsqueeze", [add("Cast", [mask], "mask", to=ir.DataType.FLOAT.value), axis(-1)], "weight")
            total = add("ReduceSum", [add("Mul", [hidden, weight], "weighted"), axis(1)], "total", keepdims=0)
            few = add_constant(graph, "pooling.few", np.array(_NO_TOKENS, np.float32))
            count = add("Max", [add("ReduceSum", [weight, axis(1)], "tokens", keepdims=0), few], "count")
            pooled = add("Div", [total, count], "mean")
        else:
            first = add_constant(graph, "pooling.first", np.array(0 if self._pooling == "cls" else 1, np.int64))
            if self._pooling == "cls":
                pooled = add("Gather", [hidden, first], "first.token", axis=1)
            else:
                count = add("ReduceSum", [mask, axis(1)], "tokens", keepdims=1)  # (batch, 1)
                last = add("Sub", [count, first], "last")
                pooled = add("GatherND", [hidden, last], "last.token", batch_dims=1)
        if self._normalize:
            tiny = add_constant(graph, "pooling.tiny", np.array(_NO_LENGTH, np.float32))
            length = add("Max", [add("ReduceL2", [pooled, axis(-1)], "length", keepdims=1), tiny], "divisor")
            pooled = add("Div", [pooled, length], "unit")
        pooled.name = "embeddings"
        pooled.shape, pooled.type = ir.Shape(["batch", size]), ir.TensorType(ir.DataType.FLOAT)
        graph.outputs.clear()
        graph.outputs.append(pooled)
        return ir.passes.PassResult(model, True)
