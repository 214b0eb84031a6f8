"""Takes apart a ``Linear`` that the frontend packed where its weights are not stored alike.

graph, MayPack -> graph with single linears
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from edgelora_onnx.decoder_graph import LINEAR, LINEAR_DOMAIN

MayPack = Callable[[Sequence[str]], bool]  # names of weights -> whether one node can hold them all


class UnpackLinears(ir.passes.InPlacePass):
    """The parts go through one ``Concat`` to whoever read them as one."""

    def __init__(self, may_pack: MayPack) -> None:
        super().__init__()
        self._may_pack = may_pack

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Unpack every linear of several weights that may not be packed."""
        modified = False
        for node in list(model.graph):
            if node.op_type == LINEAR and not self._may_pack(weight_names(node)):
                _unpack(model.graph, node)
                modified = True
        return ir.passes.PassResult(model, modified)


def weight_names(linear: ir.Node) -> list[str]:
    """The weights of a ``Linear``, in the order of its rows."""
    return [weight.name for weight in linear.inputs[1:] if weight is not None and weight.name is not None]


def _unpack(graph: ir.Graph, node: ir.Node) -> None:
    joined = node.outputs[0]
    parts = []
    for name, weight in zip(weight_names(node), node.inputs[1:], strict=True):
        part = ir.node(LINEAR, [node.inputs[0], weight], domain=LINEAR_DOMAIN, num_outputs=1)
        part.outputs[0].name = f"{name.removesuffix('.weight')}.part"
        parts.append(part)
    concat = ir.node("Concat", [part.outputs[0] for part in parts], {"axis": -1}, num_outputs=1)
    graph.insert_before(node, [*parts, concat])
    joined.replace_all_uses_with(concat.outputs[0])
    graph.remove(node, safe=True)
    concat.outputs[0].name = joined.name
