"""Multiplies with quantized weights where they lie in the mapped file, by operators of the native runtime.

decoder graph -> the same with nothing to pack

Codes, scales and zero points stay those of MatMulNBits, and scales are read in the type in which they are stored. What
``FuseSlots`` put behind such a linear becomes a part of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgelora_onnx.initializers import remove_unused_initializers, shape_of
from edgelora_onnx.lowering import replace_node
from edgelora_onnx.passes.fuse_slots import DOMAIN, LOW_RANK

LINEAR, EMBED = "Linear", "Embed"
_IN_BYTES = 4  # the accuracy level at which activations are rounded to 8 bits, and these operators are the faster ones
_FLAT = ".rows"  # ends the name of codes in two dimensions, whose bytes are those of the name without it


class LowerInPlace(ir.passes.InPlacePass):
    """onnxruntime packs a copy of what MatMulNBits multiplies with when it opens a model; these operators need none."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace linears at accuracy level 4 with their slots, and the embedding; unread Casts and initializers go."""
        graph = model.graph
        lowered = [node for node in list(graph) if _lower_linear(graph, node) or _lower_embedding(graph, node)]
        for node in [node for node in graph if node.op_type == LOW_RANK]:
            _join(graph, node)
        if lowered:
            for cast in [node for node in graph if node.op_type == "Cast" and not node.outputs[0].uses()]:
                graph.remove(cast, safe=True)
            remove_unused_initializers(graph)
            model.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, bool(lowered))


def _lower_linear(graph: ir.Graph, node: ir.Node) -> bool:
    if node.op_type != "MatMulNBits" or _integer(node, "accuracy_level") != _IN_BYTES:
        return False
    x, codes, scales, zeros, order, bias = _padded(node.inputs, 6)
    if order is not None or (zeros is not None and zeros.dtype != ir.DataType.UINT8):
        return False  # columns in another order, or zero points that are no integers
    attributes = {name: _integer(node, name) for name in ("K", "N", "bits", "block_size", "accuracy_level")}
    inputs = [x, codes, _stored(scales), zeros, bias]
    replace_node(graph, node, ir.node(LINEAR, _trimmed(inputs), attributes, domain=DOMAIN, num_outputs=1))
    return True


def _join(graph: ir.Graph, slot: ir.Node) -> None:
    """Let the linear whose output a slot changes, and nobody else reads, do the slot's part as well."""
    x, y, *adapters = slot.inputs
    linear = y.producer() if y is not None else None
    assert y is not None
    if linear is None or linear.op_type != LINEAR or linear.inputs[0] is not x or len(y.uses()) > 1:
        return
    inputs = [*_padded(linear.inputs, 5), *adapters]
    attributes = dict(linear.attributes) | {name: slot.attributes[name] for name in ("columns", "slot")}
    replace_node(graph, slot, ir.node(LINEAR, inputs, attributes, domain=DOMAIN, num_outputs=1))
    graph.remove(linear, safe=True)


def _lower_embedding(graph: ir.Graph, node: ir.Node) -> bool:
    if node.op_type != "GatherBlockQuantized":
        return False
    codes, ids, scales, zeros = _padded(node.inputs, 4)
    assert codes is not None and codes.name is not None
    block_size = _integer(node, "block_size")
    attributes = {"K": shape_of(scales)[1] * block_size, "bits": _integer(node, "bits"), "block_size": block_size}
    table = graph.initializers.get(codes.name.removesuffix(_FLAT), codes)  # the head's, where the two are tied
    inputs = [table, ids, _stored(scales), zeros]
    replace_node(graph, node, ir.node(EMBED, _trimmed(inputs), attributes, domain=DOMAIN, num_outputs=1))
    return True


def _stored(scales: ir.Value | None) -> ir.Value | None:
    """What a Cast in front of them widens."""
    cast = scales.producer() if scales is not None else None
    return cast.inputs[0] if cast is not None and cast.op_type == "Cast" else scales


def _padded(inputs: Sequence[ir.Value | None], count: int) -> list[ir.Value | None]:
    return [*inputs, *[None] * (count - len(inputs))]


def _trimmed(inputs: list[ir.Value | None]) -> list[ir.Value | None]:
    while inputs[-1] is None:
        inputs.pop()
    return inputs


def _integer(node: ir.Node, name: str) -> int:
    found = node.attributes.get(name)
    return found.as_int() if found is not None else 0
