"""Tells attention to compute whole rows of scores where onnxruntime would cut them into tiles of one number (wasm).

graph -> graph whose attention has sinks that take nothing

``GroupQueryAttention`` on a CPU works in tiles that fit the second cache of the processor, whose size wasm does not
know; a tile is one number then, and 128 tokens of SmolLM2-135M take thirty times as long as without tiles. Nothing
turns tiles off in a browser, but they know no sinks. One so low that it takes no part of any row changes no answer.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgelora_onnx.initializers import keep_constant

_SINKS, _INPUTS = 11, 12  # where sinks stand among the inputs, and how many there are with them
_NOTHING = -1e30  # exp of it, beside any score, is 0


class UntileAttention(ir.passes.InPlacePass):
    """Attention that has sinks of its own has no tiles already."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Every ``GroupQueryAttention``."""
        changed = False
        for node in model.graph:
            if node.op_type != "GroupQueryAttention" or (len(node.inputs) > _SINKS and node.inputs[_SINKS] is not None):
                continue
            heads = node.attributes["num_heads"].as_int()
            sinks = keep_constant(model.graph, f"attention.no_sinks.{heads}", np.full(heads, _NOTHING, np.float32))
            node.resize_inputs(max(len(node.inputs), _INPUTS))
            node.replace_input_with(_SINKS, sinks)
            changed = True
        return ir.passes.PassResult(model, changed)
