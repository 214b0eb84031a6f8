"""Where low-rank factors belong in a graph: the slot of a ``Linear``, the two products beside it, DoRA's gain.

graph, WeightSource -> Slot, two products

Factors are graph inputs in one pass and constants in another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgelora_onnx.decoder_graph import LINEAR, WeightSource
from edgelora_onnx.initializers import keep_constant, shape_of
from edgelora_runtime.manifest import Slot, SlotPart

_ONE = "slots.one"  # a constant that nothing else reads
_IN_A_LAYER = re.compile(r"(^|\.)(layers|layer|albert_layers|h)\.\d+\.")


def find_slots(graph: ir.Graph, sources: Mapping[str, WeightSource]) -> Iterator[tuple[ir.Node, Slot]]:
    """Every ``Linear`` of the layers with its slot, in graph order; the head has none.

    Layers that share a weight share its slot: it comes once for each of its nodes.
    """
    for node in list(graph):
        if node.op_type == LINEAR:
            slot = _slot_of(node, sources)
            if _IN_A_LAYER.search(slot.name):
                yield node, slot


def slot_name(modules: list[str]) -> str:
    """The module's path, or ``PARENT.q_k_v_proj`` and the like for several."""
    if len(modules) == 1:
        return modules[0]
    parent = modules[0].rsplit(".", 1)[0]
    return f"{parent}.{'_'.join(module.rsplit('.', 1)[1].removesuffix('_proj') for module in modules)}_proj"


def slot_inputs(slot: Slot) -> list[str]:
    """The graph inputs of a slot."""
    return [slot.a, slot.b, *([] if slot.gain is None else [slot.gain])]


def add_delta(
    graph: ir.Graph, node: ir.Node, slot: Slot, a: ir.Value, b: ir.Value, gain: ir.Value | None = None
) -> None:
    """Turn ``y = Linear(x)`` into ``y = Linear(x) + x @ a @ b``; a ([n,] in_features, rank), b ([n,] rank, out).

    With ``gain`` (n, 1, out) it becomes ``y = Linear(x) * (1 + gain) + x @ a @ b``. A bias is added behind it.
    """
    x, y = node.inputs[0], node.outputs[0]
    use = f".{len(a.uses())}" if a.uses() else ""
    shrink = ir.node("MatMul", [x, a], num_outputs=1)
    expand = ir.node("MatMul", [shrink.outputs[0], b], num_outputs=1)
    shrink.outputs[0].name, expand.outputs[0].name = f"{slot.name}.shrunk{use}", f"{slot.name}.delta{use}"
    add = ir.node("Add", [y, expand.outputs[0]], num_outputs=1)
    add.outputs[0].name = f"{slot.name}.adapted{use}"
    y.replace_all_uses_with(add.outputs[0])
    add.replace_input_with(0, y)
    graph.insert_after(node, [shrink, expand, add])
    if gain is not None:
        one = keep_constant(graph, _ONE, np.ones((), np.float32))
        scale = ir.node("Add", [gain, one], num_outputs=1)
        scaled = ir.node("Mul", [y, scale.outputs[0]], num_outputs=1)
        scale.outputs[0].name, scaled.outputs[0].name = f"{slot.name}.scale{use}", f"{slot.name}.scaled{use}"
        add.replace_input_with(0, scaled.outputs[0])
        graph.insert_after(node, [scale, scaled])


def remove_delta(graph: ir.Graph, a: ir.Value, b: ir.Value) -> None:
    """Undo ``add_delta``: whoever read ``Linear(x) + x @ a @ b`` reads ``Linear(x)``."""
    for shrink, expand, add in _products(a, b):
        y, scaling = _unscaled(_undisturbed(add, expand))
        add.outputs[0].replace_all_uses_with(y)
        graph.remove([add, expand, shrink, *scaling], safe=True)


def fuse_delta(
    graph: ir.Graph,
    a: ir.Value,
    b: ir.Value,
    adapters: Sequence[ir.Value],
    operator: tuple[str, str],
    attributes: Mapping[str, int | list[int]],
) -> None:
    """Put one node of ``operator`` (domain, type) in the place of what ``add_delta`` added: x, y and ``adapters``."""
    domain, kind = operator
    for shrink, expand, add in _products(a, b):
        (y, scaling), adapted = _unscaled(_undisturbed(add, expand)), add.outputs[0]
        fused = ir.node(kind, [shrink.inputs[0], y, *adapters], attributes, domain=domain, num_outputs=1)
        name, fused.outputs[0].shape, fused.outputs[0].type = adapted.name, adapted.shape, adapted.type
        graph.insert_before(add, fused)
        adapted.replace_all_uses_with(fused.outputs[0])
        graph.remove([add, expand, shrink, *scaling], safe=True)
        fused.outputs[0].name = name


def linear_of(a: ir.Value) -> ir.Value:
    """What the linear of a slot gives, which ``add_delta`` added to; ``a`` is the slot's input."""
    shrink = next(iter(a.uses())).node
    (expand,) = (use.node for use in shrink.outputs[0].uses())
    (add,) = (use.node for use in expand.outputs[0].uses())
    return _unscaled(_undisturbed(add, expand))[0]


def _products(a: ir.Value, b: ir.Value) -> list[tuple[ir.Node, ir.Node, ir.Node]]:
    """The three nodes of each use of a slot: x @ a, that @ b, and the sum."""
    found = []
    for shrink in [use.node for use in a.uses()]:
        (expand,) = (use.node for use in shrink.outputs[0].uses())
        assert expand.inputs[1] is b
        (add,) = (use.node for use in expand.outputs[0].uses())
        found.append((shrink, expand, add))
    return found


def _undisturbed(add: ir.Node, expand: ir.Node) -> ir.Value:
    return next(value for value in add.inputs if value is not None and value is not expand.outputs[0])


def _unscaled(y: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """What ``y`` was before its gain, and the nodes that multiplied it in; ``y`` itself and none where it has no gain.

    The scales that an encoder multiplies tokens with are no sum with a constant one.
    """
    scaled = y.producer()
    if scaled is None or scaled.op_type != "Mul" or scaled.inputs[1] is None:
        return y, []
    scale = scaled.inputs[1].producer()
    if scale is None or scale.op_type != "Add" or scale.inputs[1] is None or scale.inputs[1].name != _ONE:
        return y, []
    assert scaled.inputs[0] is not None
    return scaled.inputs[0], [scaled, scale]


def _slot_of(node: ir.Node, sources: Mapping[str, WeightSource]) -> Slot:
    """Name the modules of the checkpoint; neighbouring rows of one tensor are one module."""
    parts: list[SlotPart] = []
    offset = 0
    for weight in node.inputs[1:]:
        assert weight is not None and weight.name is not None
        source, rows = sources[weight.name], shape_of(weight)[0]
        if parts and parts[-1].module == source.module:
            parts[-1] = SlotPart(source.module, parts[-1].offset, parts[-1].out_features + rows)
        else:
            parts.append(SlotPart(source.module, offset, rows))
        offset += rows
    name = slot_name([part.module for part in parts])
    return Slot(name, f"{name}.lora_A", f"{name}.lora_B", shape_of(node.inputs[1])[1], offset, tuple(parts))
