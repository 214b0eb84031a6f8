"""Adds an adapter slot beside every linear of the decoder layers: ``y = Linear(x) + x @ a @ b``.

Knows nothing about adapters themselves; their factors are graph inputs, so one graph serves every rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx_ir as ir

from edgelora_onnx.decoder_graph import LINEAR, WeightSource
from edgelora_onnx.initializers import shape_of
from edgelora_runtime.manifest import Slot, SlotPart

_IN_A_LAYER = re.compile(r"\.(layers|h)\.\d+\.")


class AddSlots(ir.passes.InPlacePass):
    """After the call, ``slots`` describes the new graph inputs in graph order."""

    def __init__(self, sources: Mapping[str, WeightSource]) -> None:
        super().__init__()
        self._sources = sources
        self.slots: tuple[Slot, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Add the slots."""
        slots = []
        for node in list(model.graph):
            if node.op_type == LINEAR:
                slot = self._describe(node)
                if _IN_A_LAYER.search(slot.name):
                    _plug_in(model.graph, node, slot)
                    slots.append(slot)
        self.slots = tuple(slots)
        return ir.passes.PassResult(model, bool(slots))

    def _describe(self, node: ir.Node) -> Slot:
        """Name the modules of the checkpoint; neighbouring rows of one tensor are one module."""
        parts: list[SlotPart] = []
        offset = 0
        for weight in node.inputs[1:]:
            assert weight is not None and weight.name is not None
            source, rows = self._sources[weight.name], shape_of(weight)[0]
            if parts and parts[-1].module == source.module:
                parts[-1] = SlotPart(source.module, parts[-1].offset, parts[-1].out_features + rows)
            else:
                parts.append(SlotPart(source.module, offset, rows))
            offset += rows
        name = slot_name([part.module for part in parts])
        return Slot(name, f"{name}.lora_A", f"{name}.lora_B", shape_of(node.inputs[1])[1], offset, tuple(parts))


def slot_name(modules: list[str]) -> str:
    """The module's path, or ``PARENT.q_k_v_proj`` and the like for several."""
    if len(modules) == 1:
        return modules[0]
    parent = modules[0].rsplit(".", 1)[0]
    return f"{parent}.{'_'.join(module.rsplit('.', 1)[1].removesuffix('_proj') for module in modules)}_proj"


def _plug_in(graph: ir.Graph, node: ir.Node, slot: Slot) -> None:
    x, y = node.inputs[0], node.outputs[0]
    a = _input(slot.a, [f"{slot.name}.n", slot.in_features, f"{slot.name}.rank"])
    b = _input(slot.b, [f"{slot.name}.n", f"{slot.name}.rank", slot.out_features])
    graph.inputs.extend([a, b])
    shrink = ir.node("MatMul", [x, a], num_outputs=1)
    expand = ir.node("MatMul", [shrink.outputs[0], b], num_outputs=1)
    shrink.outputs[0].name, expand.outputs[0].name = f"{slot.name}.shrunk", f"{slot.name}.delta"
    add = ir.node("Add", [y, expand.outputs[0]], num_outputs=1)
    add.outputs[0].name = f"{slot.name}.adapted"
    y.replace_all_uses_with(add.outputs[0])
    add.replace_input_with(0, y)
    graph.insert_after(node, [shrink, expand, add])


def _input(name: str, shape: list[str | int]) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
