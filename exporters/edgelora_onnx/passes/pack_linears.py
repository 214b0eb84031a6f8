"""Makes one ``Linear`` of the projections that read the same input: q/k/v, and gate/up.

graph, MayPack -> graph with fewer linears

Adapters gain the most: one slot instead of three.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import onnx_ir as ir

from edgelora.checkpoint.names import ONE_INPUT
from edgelora_onnx.decoder_graph import LINEAR, LINEAR_DOMAIN
from edgelora_onnx.initializers import keep_constant, shape_of
from edgelora_onnx.passes.unpack_linears import MayPack, weight_names


class PackLinears(ir.passes.InPlacePass):
    """The parts come back through one ``Split``, in the order of ONE_INPUT."""

    def __init__(self, may_pack: MayPack) -> None:
        super().__init__()
        self._may_pack = may_pack

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Pack every complete group whose weights may be packed."""
        groups: dict[tuple[str, int], dict[str, ir.Node]] = defaultdict(dict)
        for node in model.graph:
            if node.op_type == LINEAR and node.domain == LINEAR_DOMAIN and len(node.inputs) == 2:
                parent, leaf = _module_of(node).rsplit(".", 1) if "." in _module_of(node) else ("", _module_of(node))
                groups[parent, id(node.inputs[0])][leaf] = node
        complete = [
            [members[leaf] for leaf in leaves]
            for members in groups.values()
            for leaves in ONE_INPUT
            if all(leaf in members for leaf in leaves)
        ]
        # A weight that is read elsewhere too, without its companions, needs a slot of its own there as here.
        packed = Counter(name for nodes in complete for node in nodes for name in weight_names(node))
        uses = Counter(name for node in model.graph if node.op_type == LINEAR for name in weight_names(node))
        modified = False
        for nodes in complete:
            names = [name for node in nodes for name in weight_names(node)]
            if all(packed[name] == uses[name] for name in names) and self._may_pack(names):
                _pack(model.graph, nodes)
                modified = True
        if modified:
            model.graph.sort()
        return ir.passes.PassResult(model, modified)


def _module_of(node: ir.Node) -> str:
    weight = node.inputs[1]
    assert weight is not None and weight.name is not None
    return weight.name.removesuffix(".weight")


def _pack(graph: ir.Graph, nodes: list[ir.Node]) -> None:
    first = nodes[0]
    parent = _module_of(first).rsplit(".", 1)[0]
    weights = [node.inputs[1] for node in nodes]
    linear = ir.node(LINEAR, [first.inputs[0], *weights], domain=LINEAR_DOMAIN, num_outputs=1)
    linear.outputs[0].name = f"{first.outputs[0].name}.packed_{len(nodes)}"
    sizes = f"{parent}.split_{len(nodes)}"  # once for layers that share their weights
    split_sizes = keep_constant(graph, sizes, _rows(weights))
    split = ir.node("Split", [linear.outputs[0], split_sizes], {"axis": -1}, num_outputs=len(nodes))
    graph.insert_before(first, [linear, split])
    for node, output in zip(nodes, split.outputs, strict=True):
        name = node.outputs[0].name
        node.outputs[0].replace_all_uses_with(output)
        graph.remove(node, safe=True)
        output.name = name


def _rows(weights: list[ir.Value | None]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([shape_of(weight)[0] for weight in weights], np.int64)
