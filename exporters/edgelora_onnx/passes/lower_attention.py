"""Puts the native runtime's attention in the place of onnxruntime's: the same operator, in half of the time or less.

decoder graph -> the same with attention of another domain
"""

from __future__ import annotations

import onnx_ir as ir

from edgelora_onnx.passes.fuse_slots import DOMAIN

_NOT_TAKEN = (9, 10)  # inputs: positions of tokens, and what is added to scores
_SINKS = 11  # the last input that is known here; steps of an 8-bit cache come behind it, and later
_ATTRIBUTES = {
    "num_heads",
    "kv_num_heads",
    "scale",
    "softcap",
    "local_window_size",
    "do_rotary",
    "rotary_interleaved",
}
_OFF = {"smooth_softmax", "qk_output"}  # attributes that are known where they are 0


class LowerAttention(ir.passes.InPlacePass):
    """Inputs, outputs and attributes stay; a node with more than is known here stays onnxruntime's."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Every ``GroupQueryAttention`` that is known here."""
        found = [node for node in model.graph if node.op_type == "GroupQueryAttention" and _is_known(node)]
        for node in found:
            for name in _OFF & set(node.attributes):
                del node.attributes[name]
            node.domain = DOMAIN
        if found:
            model.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, bool(found))


def _is_known(node: ir.Node) -> bool:
    if len(node.inputs) > _SINKS + 1 or len(node.outputs) != 3:
        return False
    if any(index < len(node.inputs) and node.inputs[index] is not None for index in _NOT_TAKEN):
        return False
    return all(
        name in _ATTRIBUTES or (name in _OFF and attribute.as_int() == 0) for name, attribute in node.attributes.items()
    )
