"""Replaces ``MatMul(x, Transpose(weight))`` by one ``Linear`` node that names its weights in checkpoint orientation.

graph, names of weights -> graph of Linear nodes
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from edgelora_onnx.decoder_graph import LINEAR, LINEAR_DOMAIN


class RecognizeLinears(ir.passes.InPlacePass):
    """``weights`` are the initializers that come from the checkpoint; a product with anything else stays as it is."""

    def __init__(self, weights: Collection[str]) -> None:
        super().__init__()
        self._weights = weights

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every product with a checkpoint weight."""
        modified = False
        for node in list(model.graph):
            weights = self._linear_weights(node)
            if not weights:
                continue
            linear = ir.node(LINEAR, [node.inputs[0], *weights], domain=LINEAR_DOMAIN, outputs=_moved_outputs(node))
            _replace(model.graph, node, linear)
            modified = True
        return ir.passes.PassResult(model, modified)

    def ensures(self, model: ir.Model) -> None:
        """No checkpoint weight may be left transposed: a pass downstream would miss it."""
        left = [node.name for node in model.graph if node.op_type == "Transpose" and self._is_weight(node.inputs[0])]
        if left:
            raise ir.passes.PostconditionError(f"weights still transposed: {left}")

    def _linear_weights(self, node: ir.Node) -> list[ir.Value]:
        if node.op_type != "MatMul" or node.inputs[1] is None:
            return []
        transpose = node.inputs[1].producer()
        if transpose is None or transpose.op_type != "Transpose":
            return []
        source = transpose.inputs[0]
        if source is None:
            return []
        concat = source.producer()
        if concat is not None and concat.op_type == "Concat" and concat.attributes["axis"].as_int() == 0:
            weights = list(concat.inputs)
        else:
            weights = [source]
        return [weight for weight in weights if weight is not None] if all(map(self._is_weight, weights)) else []

    def _is_weight(self, value: ir.Value | None) -> bool:
        return value is not None and value.name in self._weights


def _moved_outputs(node: ir.Node) -> list[ir.Value]:
    """Fresh values under the old names, so that graph outputs keep theirs."""
    fresh = []
    for output in node.outputs:
        name, output.name = output.name, f"{output.name}_before"
        fresh.append(ir.Value(name=name, shape=output.shape, type=output.type))
    return fresh


def _replace(graph: ir.Graph, node: ir.Node, linear: ir.Node) -> None:
    graph.insert_before(node, linear)
    for old, new in zip(node.outputs, linear.outputs, strict=True):
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    stale = [value.producer() for value in node.inputs if value is not None]
    graph.remove(node, safe=True)
    while stale:  # the transposes and concatenations that fed the weight
        producer = stale.pop()
        if producer is None or producer.graph is not graph or producer.op_type not in ("Transpose", "Concat"):
            continue
        if any(output.uses() for output in producer.outputs):
            continue
        stale += [value.producer() for value in producer.inputs if value is not None]
        graph.remove(producer, safe=True)
