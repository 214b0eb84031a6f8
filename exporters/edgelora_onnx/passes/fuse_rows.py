"""Puts one node in the place of those that round an encoder's tokens to 8 bits; its slots take what follows a product.

encoder graph with fused slots -> the same with two nodes beside each product of bytes

``LowerToIntegers`` wrote what is recognized here. Scales, bias, residual and GELU become the slot's own.
"""

from __future__ import annotations

import onnx_ir as ir

from edgelora_onnx.initializers import remove_unused_initializers
from edgelora_onnx.passes.fuse_slots import DOMAIN, LOW_RANK

ROUND_ROWS, LOW_RANK_GELU = "RoundRows", "LowRankGelu"
_MOST_OUTPUTS = 3  # of a slot
_SPELLED = ("QuantizeLinear", "Div", "Add", "ReduceMax", "Abs")  # from codes up to what is rounded


class FuseRows(ir.passes.InPlacePass):
    """The products stay with onnxruntime; what follows one and works on its numbers alone is the slot's node's."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse what rounds, then what scales, adds and curves."""
        graph = model.graph
        rounded = [node for node in list(graph) if _round(graph, node)]
        for node in [node for node in graph if node.op_type == LOW_RANK]:
            _take_scales(graph, node)
            _take_bias(graph, node)
            if not _split(graph, node):
                _take_residual(graph, node)
                _take_gelu(graph, node)
        if rounded:
            remove_unused_initializers(graph)
            graph.sort()  # a residual may have stood behind the slot that adds it now
            model.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, bool(rounded))


def _round(graph: ir.Graph, last: ir.Node) -> bool:
    """Whether ``last`` gave the codes of rows, which one node now gives together with their scales."""
    if last.op_type != _SPELLED[0]:
        return False
    nodes = [last]
    for kind in _SPELLED[1:]:
        node = nodes[-1].inputs[1 if nodes[-1].op_type == "Div" else 0]
        found = node.producer() if node is not None else None
        if found is None or found.op_type != kind:
            return False
        nodes.append(found)
    _, divide, reach, _, size = nodes
    others = [node for node in _readers(reach.outputs[0]) if node is not divide]
    if divide.inputs[0] is not size.inputs[0] or [node.op_type for node in others] != ["Mul"]:
        return False
    worth = others[0]
    fused = ir.node(ROUND_ROWS, [size.inputs[0]], domain=DOMAIN, num_outputs=2)
    graph.insert_before(size, fused)
    for old, new in zip((last.outputs[0], worth.outputs[0]), fused.outputs, strict=True):
        new.shape, new.type, name = old.shape, old.type, old.name
        old.replace_all_uses_with(new)
        new.name = name
    graph.remove([worth, *nodes], safe=True)
    return True


def _take_scales(graph: ir.Graph, slot: ir.Node) -> None:
    """Let the slot multiply what it adds to with the scales of tokens."""
    y = slot.inputs[1]
    multiply = y.producer() if y is not None else None
    if multiply is None or multiply.op_type != "Mul" or len(multiply.outputs[0].uses()) > 1:
        return
    product, scales = multiply.inputs
    if scales is None or (rows := scales.producer()) is None or rows.op_type != ROUND_ROWS:
        return
    slot.resize_inputs(6)
    slot.replace_input_with(1, product)
    slot.replace_input_with(5, scales)
    graph.remove(multiply, safe=True)


def _split(graph: ir.Graph, slot: ir.Node) -> bool:
    """Whether the slot now writes each part to an output of its own, as the node behind it did and no more."""
    readers, columns = _readers(slot.outputs[0]), slot.attributes["columns"].as_ints()
    split = readers[0] if len(readers) == 1 and readers[0].op_type == "Split" else None
    if split is None or not 1 < len(split.outputs) <= _MOST_OUTPUTS or split.attributes["axis"].as_int() not in (-1, 2):
        return False
    lengths = split.inputs[1] if len(split.inputs) > 1 else None
    sizes = ir.convenience.get_const_tensor(lengths) if lengths is not None else None
    ends = [0] if sizes is None else [0, *sizes.numpy().cumsum().tolist()]
    if ends != list(columns):
        return False
    outputs = len(split.outputs)
    parted = ir.node(LOW_RANK, slot.inputs, slot.attributes, domain=DOMAIN, num_outputs=outputs)
    graph.insert_before(slot, parted)
    for old, new in zip(split.outputs, parted.outputs, strict=True):
        new.shape, new.type, name = old.shape, old.type, old.name
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name, new.name = f"{name}.split", name
    graph.remove([split, slot], safe=True)
    return True


def _take_bias(graph: ir.Graph, slot: ir.Node) -> None:
    """Let the slot add the bias behind it, that of each part where its columns are split again."""
    readers = _readers(slot.outputs[0])
    split = readers[0] if len(readers) == 1 and readers[0].op_type == "Split" else None
    outputs = [slot.outputs[0]] if split is None else list(split.outputs)
    if split is not None and split.attributes["axis"].as_int() not in (-1, 2):
        return
    adds = [_bias_of(output) for output in outputs]
    found = [bias for _, bias in filter(None, adds)]
    if len(found) < len(outputs):
        return
    bias = found[0]
    if len(found) > 1:  # constants: onnxruntime joins them when it opens the graph
        joined = ir.node("Concat", found, {"axis": 0}, num_outputs=1)
        bias = joined.outputs[0]
        bias.name = f"{slot.outputs[0].name}.bias"
        graph.insert_before(slot, joined)
    slot.resize_inputs(7)
    slot.replace_input_with(6, bias)
    for output, (add, _) in zip(outputs, filter(None, adds), strict=True):
        _end_at(graph, output, [add])


def _bias_of(output: ir.Value) -> tuple[ir.Node, ir.Value] | None:
    """The one reader of a value, where that adds a constant for each column, and the constant."""
    readers = _readers(output)
    if len(readers) != 1 or readers[0].op_type != "Add":
        return None
    (bias,) = (value for value in readers[0].inputs if value is not output)
    if bias is None or not bias.is_initializer() or bias.shape is None or len(bias.shape) != 1:
        return None
    return readers[0], bias


def _take_residual(graph: ir.Graph, slot: ir.Node) -> None:
    """Let the slot add what its sum is added to, where that is of the same shape."""
    output = slot.outputs[0]
    readers = _readers(output)
    if len(readers) != 1 or readers[0].op_type != "Add":
        return
    others = [value for value in readers[0].inputs if value is not None and value is not output]
    if len(others) != 1 or others[0].is_initializer() or not _is_alike(others[0], readers[0].outputs[0]):
        return
    slot.resize_inputs(8)
    slot.replace_input_with(7, others[0])
    _end_at(graph, output, readers)


def _is_alike(one: ir.Value, other: ir.Value) -> bool:
    """Whether both are known to have the same three sizes."""
    if one.shape is None or other.shape is None or len(one.shape) != 3:
        return False
    sizes = [size if isinstance(size, int) else size.value for size in one.shape]
    return None not in sizes and sizes == [size if isinstance(size, int) else size.value for size in other.shape]


def _take_gelu(graph: ir.Graph, slot: ir.Node) -> None:
    """Let the slot give GELU of its sum, where that is spelled with the error function."""
    y = slot.outputs[0]
    readers = _readers(y)
    inner = [node for node in readers if _by_constant(node, y, "Div", 2**0.5) or _by_constant(node, y, "Mul", 0.5**0.5)]
    if len(readers) != 2 or len(inner) != 1:
        return
    nodes = [inner[0]]
    for kind in ("Erf", "Add"):
        (node, *others) = _readers(nodes[-1].outputs[0]) or [slot]
        if others or node.op_type != kind:
            return
        nodes.append(node)
    if not _by_constant(nodes[-1], nodes[-2].outputs[0], "Add", 1.0):
        return
    raised = nodes[-1].outputs[0]  # 1 + erf
    outer = next(node for node in readers if node is not inner[0])
    if _by_constant(outer, y, "Mul", 0.5):  # (y / 2) (1 + erf)
        nodes.append(outer)
        last = _readers(outer.outputs[0])
        if len(last) != 1 or last[0].op_type != "Mul" or {*last[0].inputs} != {outer.outputs[0], raised}:
            return
    else:  # y (1 + erf) / 2
        if outer.op_type != "Mul" or {*outer.inputs} != {y, raised}:
            return
        nodes.append(outer)
        last = _readers(outer.outputs[0])
        if len(last) != 1 or not _by_constant(last[0], outer.outputs[0], "Mul", 0.5):
            return
    if len(_readers(raised)) != 1:
        return
    slot.op_type = LOW_RANK_GELU
    _end_at(graph, y, [*nodes, last[0]])


def _by_constant(node: ir.Node, value: ir.Value, kind: str, constant: float) -> bool:
    """Whether a node divides by, multiplies with or adds this constant."""
    if node.op_type != kind or value not in node.inputs:
        return False
    first, second = node.inputs
    other = second if first is value else first
    if other is None or (kind == "Div" and first is not value):
        return False
    found = ir.convenience.get_const_tensor(other)
    return found is not None and found.size == 1 and abs(float(found.numpy().reshape(())) - constant) < 1e-6


def _end_at(graph: ir.Graph, output: ir.Value, nodes: list[ir.Node]) -> None:
    """Give a slot's output the name and the readers of the last of the nodes, which go."""
    last = nodes[-1].outputs[0]
    name, output.shape, output.type = last.name, last.shape, last.type
    last.replace_all_uses_with(output, replace_graph_outputs=True)
    graph.remove(nodes, safe=True)
    output.name = name


def _readers(value: ir.Value) -> list[ir.Node]:
    return [use.node for use in value.uses()]
