"""Takes out of a finished graph all that rounds while it runs, so that PyTorch on the values that ship answers alike.

finished graph -> graph that rounds nothing

No graph that ships has gone through here.
"""

from __future__ import annotations

import onnx_ir as ir

from edgelora.artifact.targets import MATMUL_INTEGER, MATMUL_NBITS

_CACHE_ATTRIBUTES = ("k_quant_type", "v_quant_type", "kv_cache_bit_width")
_K_SCALE = 12  # inputs of GroupQueryAttention from here on are steps of an 8-bit cache


class ExactArithmetic(ir.passes.InPlacePass):
    """Float activations for ``MatMulNBits`` and ``MatMulIntegerToFloat``, a float KV cache for attention."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Weights keep the values that they have."""
        graph = model.graph
        for node in list(graph):
            if node.op_type == MATMUL_NBITS:
                node.attributes["accuracy_level"] = ir.AttrInt64("accuracy_level", 0)
            elif node.op_type == MATMUL_INTEGER:
                _multiply_floats(graph, node)
            elif node.op_type == "GroupQueryAttention" and "kv_cache_bit_width" in node.attributes:
                node.resize_inputs(_K_SCALE)
                for name in _CACHE_ATTRIBUTES:
                    del node.attributes[name]
        for value in (*graph.inputs, *graph.outputs):
            if value.name is not None and value.name.startswith(("past_key_values.", "present.")):
                value.type = ir.TensorType(ir.DataType.FLOAT)
        return ir.passes.PassResult(model, True)


def _multiply_floats(graph: ir.Graph, node: ir.Node) -> None:
    """Replace the product of an activation's two rows of bytes, and the sum that joins them, by one of floats.

    What ``LowerToIntegers`` wrote is followed back from the bytes to the row that they stand for.
    """
    codes, weight, steps, zero = node.inputs[0], node.inputs[1], node.inputs[3], node.inputs[5]
    assert codes is not None and weight is not None and steps is not None and zero is not None
    rounding = codes.producer()
    assert rounding is not None
    one_row = rounding.op_type == "QuantizeLinear"

    def add(op: str, inputs: list[ir.Value | None], **attributes: int) -> ir.Value:
        made = ir.node(op, inputs, attributes, num_outputs=1)
        graph.insert_before(node, made)
        return made.outputs[0]

    floats = (add("Cast", [value], to=ir.DataType.FLOAT.value) for value in (weight, zero))
    centred = add("Sub", [*floats])  # (in_features, columns)
    weights = add("Mul", [centred, steps])
    if one_row:  # what it is worth is multiplied in later: the row in steps, without its rounding
        row = add("Div", list(rounding.inputs[:2]))
        node.outputs[0].replace_all_uses_with(add("MatMul", [row, weights]))
        graph.remove(node, safe=True)
        return
    (join,) = node.outputs[0].consumers()
    row = _input(_input(_input(codes)))  # Concat of both rows <- QuantizeLinear <- Div by the largest <- the row itself
    product = add("MatMul", [row, weights])  # (..., 1, columns)
    join.outputs[0].replace_all_uses_with(product)
    graph.remove([join, node], safe=True)


def _input(value: ir.Value) -> ir.Value:
    producer = value.producer()
    assert producer is not None and producer.inputs[0] is not None
    return producer.inputs[0]
