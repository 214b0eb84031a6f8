"""Lets attention keep keys and values as 8-bit integers, with one step for each channel of each head.

graph, steps -> graph with an 8-bit cache
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgelora.values import FloatArray
from edgelora_onnx.initializers import add_constant

_K_SCALE, _V_SCALE = 12, 13  # inputs of GroupQueryAttention
_BITS = 8


class QuantizeCache(ir.passes.InPlacePass):
    """``code = clip(round(x / step), -128, 127)`` enters the cache, and all of attention reads ``code * step``.

    The graph's inputs ``past_key_values.*`` and its outputs ``present.*`` become int8.
    """

    def __init__(self, scales: FloatArray) -> None:
        super().__init__()
        self._scales = scales  # (2 * num_layers, num_kv_heads, head_dim): key and value of each layer in turn

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Give every attention node its steps, and the cache its type."""
        graph = model.graph
        nodes = [node for node in graph if node.op_type == "GroupQueryAttention"]
        if 2 * len(nodes) != len(self._scales):
            raise AssertionError(f"{len(self._scales)} steps for key and value of {len(nodes)} layers")
        for layer, node in enumerate(nodes):
            node.resize_inputs(_V_SCALE + 1)
            for index, part, place in ((_K_SCALE, "key", 2 * layer), (_V_SCALE, "value", 2 * layer + 1)):
                steps = np.ascontiguousarray(self._scales[place][None, :, None], np.float32)  # (1, heads, 1, head_dim)
                node.replace_input_with(index, add_constant(graph, f"cache.{layer}.{part}.scale", steps))
            for name in ("k_quant_type", "v_quant_type"):
                node.attributes[name] = ir.AttrString(name, "PER_CHANNEL")
            node.attributes["kv_cache_bit_width"] = ir.AttrInt64("kv_cache_bit_width", _BITS)
        for value in (*graph.inputs, *graph.outputs):
            if value.name is not None and value.name.startswith(("past_key_values.", "present.")):
                value.type = ir.TensorType(ir.DataType.INT8)
        return ir.passes.PassResult(model, True)
