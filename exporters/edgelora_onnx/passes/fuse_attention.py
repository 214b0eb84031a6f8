"""Puts one ``MultiHeadAttention`` in the place of the products, mask and softmax that a frontend spells attention with.

graph -> graph with one node for each attention

onnxruntime's own fusion looks for linears in float around the products; here they have codes, and slots beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from edgelora_onnx.initializers import keep_constant

_CONTRIB = "com.microsoft"
_HEADS = (0, 2, 1, 3)  # (batch, sequence, heads, size) <-> (batch, heads, sequence, size)


@dataclass(frozen=True)
class _Scores:
    """``softmax(scale * q @ k^T + biases)``, each bias of shapes that broadcast to (batch, heads, sequence, total)."""

    q: ir.Value  # (batch, heads, sequence, size)
    k: ir.Value  # the same, not transposed
    scale: float
    biases: tuple[ir.Value, ...]


class FuseAttention(ir.passes.InPlacePass):
    """What is not spelled in a way that is known here stays as it is, and answers the same."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self._num_heads = num_heads
        self._expanded: dict[tuple[ir.Value, ...], ir.Value] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse every attention that is recognized."""
        fused = [node for node in list(model.graph) if node.op_type == "Softmax" and self._fuse(model.graph, node)]
        if fused:
            model.opset_imports[_CONTRIB] = 1
            common_passes.RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, bool(fused))

    def _fuse(self, graph: ir.Graph, softmax: ir.Node) -> bool:
        product = _only_reader(softmax.outputs[0])
        scores = self._scores(graph, softmax)
        if product is None or scores is None or product.op_type != "MatMul" or _rank(scores.q) != 4:
            return False
        v, joined = product.inputs[1], _only_reader(product.outputs[0])
        if v is None or joined is None or joined.op_type != "Transpose" or _permutation(joined) != _HEADS:
            return False
        flat = _only_reader(joined.outputs[0], besides="Shape")
        size = scores.q.shape[-1] if scores.q.shape is not None else None
        if flat is None or flat.op_type != "Reshape" or not isinstance(size, int) or size % 8:
            return False
        q, k, v = (self._flat(graph, softmax, value) for value in (scores.q, scores.k, v))
        inputs: list[ir.Value | None] = [q, k, v]
        if scores.biases:
            inputs += [None, None, self._bias(graph, softmax, scores.biases, q)]
        attributes = {"num_heads": self._num_heads, "scale": scores.scale}
        node = ir.node("MultiHeadAttention", inputs, attributes, domain=_CONTRIB, num_outputs=1)
        out, name = flat.outputs[0], flat.outputs[0].name
        node.outputs[0].shape, node.outputs[0].type = out.shape, out.type
        graph.insert_before(flat, node)
        out.replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
        out.name, node.outputs[0].name = f"{name}.spelled", name
        return True

    def _scores(self, graph: ir.Graph, softmax: ir.Node) -> _Scores | None:
        """Walks up from the softmax: biases and a mask that fills, a scale, the product."""
        value, scale, biases = softmax.inputs[0], 1.0, list[ir.Value]()
        while value is not None and (node := value.producer()) is not None:
            if node.op_type == "MatMul":
                q, turned = node.inputs
                k = None if turned is None else self._turned_back(graph, node, turned)
                return None if q is None or k is None else _Scores(q, k, scale, tuple(biases))
            if node.op_type == "Cast":
                value = node.inputs[0]
            elif node.op_type in ("Add", "Where"):
                value, bias = self._split_bias(graph, softmax, node)
                if bias is None or scale != 1.0:  # a bias below a scale is scaled too
                    return None
                biases.append(bias)
            elif node.op_type in ("Div", "Mul") and (number := _number(node.inputs[1])) is not None:
                scale *= 1 / number if node.op_type == "Div" else number
                value = node.inputs[0]
            else:
                return None
        return None

    def _split_bias(self, graph: ir.Graph, softmax: ir.Node, node: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
        """What the scores are below an addition or a filled mask, and the bias that it stands for."""
        if node.op_type == "Add":
            first, second = node.inputs
            return (first, second) if _leads_to_product(first) else (second, first)
        condition, fill, scores = node.inputs
        number = _number(fill) if fill is not None else None
        if number is None and fill is not None and (expand := fill.producer()) is not None:
            number = _number(expand.inputs[0])
        if number is None or condition is None or not _leads_to_product(scores):
            return None, None
        constants = [
            keep_constant(graph, f"attention.fill.{item:g}", np.array(item, np.float32)) for item in (number, 0.0)
        ]
        bias = ir.node("Where", [condition, *constants], num_outputs=1)
        bias.outputs[0].name = f"{node.outputs[0].name}.bias"
        bias.outputs[0].shape, bias.outputs[0].type = condition.shape, ir.TensorType(ir.DataType.FLOAT)
        graph.insert_before(node, bias)
        return scores, bias.outputs[0]

    def _turned_back(self, graph: ir.Graph, before: ir.Node, value: ir.Value) -> ir.Value | None:
        """(batch, heads, sequence, size) of what was transposed to (batch, heads, size, sequence)."""
        node = value.producer()
        if node is None or node.op_type != "Transpose" or node.inputs[0] is None:
            return None
        permutation = _permutation(node)
        if permutation == (0, 1, 3, 2):
            return node.inputs[0]
        if permutation != (0, 2, 3, 1):
            return None
        turned = ir.node("Transpose", [node.inputs[0]], {"perm": _HEADS}, num_outputs=1)
        turned.outputs[0].name = f"{value.name}.heads"
        turned.outputs[0].type = value.type
        graph.insert_before(before, turned)
        return turned.outputs[0]

    def _flat(self, graph: ir.Graph, before: ir.Node, value: ir.Value) -> ir.Value:
        """(batch, sequence, heads * size) of (batch, heads, sequence, size), or what that was made of."""
        node = value.producer()
        if node is not None and node.op_type == "Transpose" and _permutation(node) == _HEADS:
            split = node.inputs[0]
            reshape = split.producer() if split is not None else None
            source = reshape.inputs[0] if reshape is not None and reshape.op_type == "Reshape" else None
            if source is not None and _rank(source) == 3:
                return source
        turned = ir.node("Transpose", [value], {"perm": _HEADS}, num_outputs=1)
        shape = keep_constant(graph, "attention.flat", np.array([0, 0, -1], np.int64))
        flat = ir.node("Reshape", [turned.outputs[0], shape], num_outputs=1)
        turned.outputs[0].name, flat.outputs[0].name = f"{value.name}.turned", f"{value.name}.flat"
        graph.insert_before(before, [turned, flat])
        return flat.outputs[0]

    def _bias(self, graph: ir.Graph, before: ir.Node, biases: tuple[ir.Value, ...], q: ir.Value) -> ir.Value:
        """The sum of biases with every token of the sequence in it, as the operator wants it; once for all layers."""
        if biases not in self._expanded:
            total = biases[0]
            for other in biases[1:]:
                added = ir.node("Add", [total, other], num_outputs=1)
                added.outputs[0].name = f"{other.name}.sum"
                graph.insert_before(before, added)
                total = added.outputs[0]
            sizes = ir.node("Shape", [q], {"start": 1, "end": 2}, num_outputs=1)
            ones, one = (keep_constant(graph, f"attention.ones.{count}", np.ones(count, np.int64)) for count in (2, 1))
            shape = ir.node("Concat", [ones, sizes.outputs[0], one], {"axis": 0}, num_outputs=1)
            expanded = ir.node("Expand", [total, shape.outputs[0]], num_outputs=1)
            for index, node in enumerate((sizes, shape, expanded)):
                node.outputs[0].name = f"attention.bias.{len(self._expanded)}.{index}"
            graph.insert_before(before, [sizes, shape, expanded])
            self._expanded[biases] = expanded.outputs[0]
        return self._expanded[biases]


def _leads_to_product(value: ir.Value | None) -> bool:
    """Whether a product of two computed values stands above, behind scales, casts and further biases."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "MatMul":
            return True
        if node.op_type == "Add":
            return any(map(_leads_to_product, node.inputs))
        if node.op_type not in ("Div", "Mul", "Cast", "Where"):
            return False
        value = node.inputs[2 if node.op_type == "Where" else 0]
    return False


def _only_reader(value: ir.Value, besides: str | None = None) -> ir.Node | None:
    """The one reader of a value beside those of a kind, casts to the type that it has left out."""
    readers = [use.node for use in value.uses() if use.node.op_type != besides]
    if len(readers) != 1:
        return None
    return _only_reader(readers[0].outputs[0], besides) if readers[0].op_type == "Cast" else readers[0]


def _permutation(node: ir.Node) -> tuple[int, ...]:
    return tuple(node.attributes["perm"].as_ints())


def _rank(value: ir.Value) -> int:
    return -1 if value.shape is None else len(value.shape)


def _number(value: ir.Value | None) -> float | None:
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return float(tensor.numpy().reshape(())) if tensor is not None and tensor.size == 1 else None
