"""Puts one node in the place of those that round an encoder's tokens to 8 bits; scales and bias go into its slots.

encoder graph with fused slots -> the same with two nodes beside each product of bytes

``LowerToIntegers`` wrote what is recognized here.
"""

from __future__ import annotations

import onnx_ir as ir

from edgelora_onnx.initializers import remove_unused_initializers
from edgelora_onnx.passes.fuse_slots import DOMAIN, LOW_RANK

ROUND_ROWS = "RoundRows"
_MOST_OUTPUTS = 3  # of a slot
_SPELLED = ("QuantizeLinear", "Div", "Add", "ReduceMax", "Abs")  # from codes up to what is rounded


class FuseRows(ir.passes.InPlacePass):
    """The products stay with onnxruntime; scales of tokens and a bias become inputs of the slot's node."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse what rounds, then what scales and adds."""
        graph = model.graph
        rounded = [node for node in list(graph) if _round(graph, node)]
        for node in [node for node in graph if node.op_type == LOW_RANK]:
            _take_scales(graph, node)
            _take_bias(graph, node)
            _split(graph, node)
        if rounded:
            remove_unused_initializers(graph)
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


def _split(graph: ir.Graph, slot: ir.Node) -> None:
    """Let the slot write each part to an output of its own, where a node behind it does no more than that."""
    readers, columns = _readers(slot.outputs[0]), slot.attributes["columns"].as_ints()
    split = readers[0] if len(readers) == 1 and readers[0].op_type == "Split" else None
    if split is None or not 1 < len(split.outputs) <= _MOST_OUTPUTS or split.attributes["axis"].as_int() not in (-1, 2):
        return
    lengths = split.inputs[1] if len(split.inputs) > 1 else None
    sizes = ir.convenience.get_const_tensor(lengths) if lengths is not None else None
    ends = [0] if sizes is None else [0, *sizes.numpy().cumsum().tolist()]
    if ends != list(columns):
        return
    outputs = len(split.outputs)
    parted = ir.node(LOW_RANK, slot.inputs, slot.attributes, domain=DOMAIN, num_outputs=outputs)
    graph.insert_before(slot, parted)
    for old, new in zip(split.outputs, parted.outputs, strict=True):
        new.shape, new.type, name = old.shape, old.type, old.name
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name, new.name = f"{name}.split", name
    graph.remove([split, slot], safe=True)


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
        name = add.outputs[0].name
        add.outputs[0].replace_all_uses_with(output, replace_graph_outputs=True)
        graph.remove(add, safe=True)
        output.name = name


def _bias_of(output: ir.Value) -> tuple[ir.Node, ir.Value] | None:
    """The one reader of a value, where that adds a constant for each column, and the constant."""
    readers = _readers(output)
    if len(readers) != 1 or readers[0].op_type != "Add":
        return None
    (bias,) = (value for value in readers[0].inputs if value is not output)
    if bias is None or not bias.is_initializer() or bias.shape is None or len(bias.shape) != 1:
        return None
    return readers[0], bias


def _readers(value: ir.Value) -> list[ir.Node]:
    return [use.node for use in value.uses()]
