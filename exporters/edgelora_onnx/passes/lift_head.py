"""Makes inputs of the head's weights, so that each adapter, and each row of a call, brings its own head.

graph, sizes of the head's initializers -> graph with one input for each

Weights come in transposed: ``y = x @ weight + bias`` with weight (n, in, out) and bias (n, 1, out).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgelora_onnx.initializers import add_constant, keep_constant, shape_of
from edgelora_runtime.manifest import HeadTensor

_PREFIX = "head."
_LABELS = "labels"


class LiftHead(ir.passes.InPlacePass):
    """After the call, ``tensors`` describes the new graph inputs in graph order."""

    def __init__(self, head: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self._head = head
        self._inputs: dict[str, ir.Value] = {}
        self.tensors: tuple[HeadTensor, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every node that reads a tensor of the head; raises PreconditionError for one of another kind."""
        graph = model.graph
        for node in list(graph):
            names = [value.name if value is not None else None for value in node.inputs]
            if not any(name in self._head for name in names):
                continue
            if node.op_type == "Transpose":
                for product in list(node.outputs[0].consumers()):
                    self._linear(graph, product, node.inputs[0], None)
                graph.remove(node, safe=True)
            elif node.op_type == "Gemm":
                self._linear(graph, node, node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None)
            elif node.op_type == "Add":
                self._bias(node)
            elif node.op_type == "LayerNormalization":
                self._norm(graph, node)
            else:
                raise ir.passes.PreconditionError(f"{node.op_type} reads {names}, and no pass can feed it a head")
        for name in self._inputs:
            graph.initializers.pop(name, None)
        self.tensors = tuple(HeadTensor(name, _PREFIX + name, self._head[name]) for name in self._inputs)
        logits = next((value for value in graph.outputs if value.name == "logits"), None)
        if self.tensors and logits is not None and logits.shape is not None:
            logits.shape = ir.Shape([*logits.shape[:-1], _LABELS])
        return ir.passes.PassResult(model, bool(self.tensors))

    def _input(self, graph: ir.Graph, weight: ir.Value) -> ir.Value:
        name = weight.name
        assert name is not None
        if name not in self._inputs:
            sizes = [size or _LABELS for size in self._head[name]]
            shape: list[str | int] = ["head.n", *(reversed(sizes) if len(sizes) > 1 else (1, *sizes))]
            self._inputs[name] = ir.Value(
                name=_PREFIX + name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT)
            )
            graph.inputs.append(self._inputs[name])
        return self._inputs[name]

    def _linear(self, graph: ir.Graph, node: ir.Node, weight: ir.Value | None, bias: ir.Value | None) -> None:
        """``node`` is a Gemm over rows (batch, in), or a MatMul over (batch, in) or (batch, sequence, in)."""
        x = node.inputs[0]
        assert x is not None and weight is not None
        steps = [ir.node("MatMul", [x, self._input(graph, weight)], num_outputs=1)]
        if node.op_type == "Gemm" or _rank(x) == 2:
            steps[0].replace_input_with(0, _insert(graph, node, "Unsqueeze", [x, _axis(graph)]))
        if bias is not None:
            steps.append(ir.node("Add", [steps[0].outputs[0], self._input(graph, bias)], num_outputs=1))
        if node.op_type == "Gemm" or _rank(x) == 2:
            steps.append(ir.node("Squeeze", [steps[-1].outputs[0], _axis(graph)], num_outputs=1))
        for index, step in enumerate(steps[:-1]):
            step.outputs[0].name = f"{_PREFIX}{weight.name}.{index}"
        _put(graph, node, steps)

    def _bias(self, node: ir.Node) -> None:
        """Behind a MatMul over (batch, sequence, in): rows of biases (n, 1, out) fit as they are."""
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        which = next(index for index, value in enumerate(node.inputs) if value is not None and value.name in self._head)
        weight, other = node.inputs[which], node.inputs[1 - which]
        assert weight is not None and other is not None
        if _rank(other) != 3:
            raise ir.passes.PreconditionError(f"{weight.name} is added to something of rank {_rank(other)}")
        node.replace_input_with(which, self._input(graph, weight))

    def _norm(self, graph: ir.Graph, node: ir.Node) -> None:
        """The norm without scale and bias, and both behind it."""
        x, scale = node.inputs[0], node.inputs[1]
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        assert x is not None and scale is not None
        ones = add_constant(graph, f"{_PREFIX}{scale.name}.ones", np.ones(shape_of(scale), np.float32))
        flat = _rank(x) == 2
        steps = [ir.node("LayerNormalization", [x, ones], dict(node.attributes), num_outputs=1)]
        if flat:
            steps.append(ir.node("Unsqueeze", [steps[-1].outputs[0], _axis(graph)], num_outputs=1))
        steps.append(ir.node("Mul", [steps[-1].outputs[0], self._input(graph, scale)], num_outputs=1))
        if bias is not None and bias.name in self._head:
            steps.append(ir.node("Add", [steps[-1].outputs[0], self._input(graph, bias)], num_outputs=1))
        if flat:
            steps.append(ir.node("Squeeze", [steps[-1].outputs[0], _axis(graph)], num_outputs=1))
        for index, step in enumerate(steps[:-1]):
            step.outputs[0].name = f"{_PREFIX}{scale.name}.{index}"
        _put(graph, node, steps)


def _rank(value: ir.Value) -> int:
    if value.shape is None:
        raise ir.passes.PreconditionError(f"the rank of {value.name} is not known")
    return len(value.shape)


def _axis(graph: ir.Graph) -> ir.Value:
    return keep_constant(graph, f"{_PREFIX}axis", np.array([1], np.int64))


def _insert(graph: ir.Graph, before: ir.Node, op: str, inputs: list[ir.Value]) -> ir.Value:
    node = ir.node(op, inputs, num_outputs=1)
    node.outputs[0].name = f"{before.outputs[0].name}.{op.lower()}"
    graph.insert_before(before, node)
    return node.outputs[0]


def _put(graph: ir.Graph, old: ir.Node, steps: list[ir.Node]) -> None:
    """Put ``steps`` where ``old`` is; the last one's output takes over name, shape and readers."""
    value, last = old.outputs[0], steps[-1].outputs[0]
    name, last.type = value.name, value.type
    if value.shape is not None:  # the last size may be that of the labels
        last.shape = ir.Shape([*value.shape[:-1], None])
    value.name = f"{name}_before"
    last.name = name
    graph.insert_before(old, steps)
    value.replace_all_uses_with(last, replace_graph_outputs=True)
    graph.remove(old, safe=True)
