"""Adds an adapter slot beside every linear of the decoder layers: ``y = Linear(x) + x @ a @ b``.

Knows nothing about adapters themselves; their factors are graph inputs, so one graph serves every rank.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from edgelora_onnx.decoder_graph import WeightSource
from edgelora_onnx.slots import add_delta, find_slots
from edgelora_runtime.manifest import Slot


class AddSlots(ir.passes.InPlacePass):
    """After the call, ``slots`` describes the new graph inputs in graph order."""

    def __init__(self, sources: Mapping[str, WeightSource]) -> None:
        super().__init__()
        self._sources = sources
        self.slots: tuple[Slot, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Add the slots."""
        slots = []
        for node, slot in find_slots(model.graph, self._sources):
            a = _input(slot.a, [f"{slot.name}.n", slot.in_features, f"{slot.name}.rank"])
            b = _input(slot.b, [f"{slot.name}.n", f"{slot.name}.rank", slot.out_features])
            model.graph.inputs.extend([a, b])
            add_delta(model.graph, node, slot, a, b)
            slots.append(slot)
        self.slots = tuple(slots)
        return ir.passes.PassResult(model, bool(slots))


def _input(name: str, shape: list[str | int]) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
