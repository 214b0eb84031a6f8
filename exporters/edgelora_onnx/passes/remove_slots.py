"""Turns the decoder graph into its twin without slots: what the base alone computes, over the same weights.

graph, Slot -> graph of the base alone
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgelora_onnx.slots import remove_delta, slot_inputs
from edgelora_runtime.manifest import Slot


class RemoveSlots(ir.passes.InPlacePass):
    """The linears, their packing and their initializers stay as they are, so that both graphs share every byte."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        super().__init__()
        self._slots = slots

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Remove every slot with its inputs."""
        inputs = {value.name: value for value in model.graph.inputs}
        for slot in self._slots:
            remove_delta(model.graph, inputs[slot.a], inputs[slot.b])
            for name in slot_inputs(slot):
                model.graph.inputs.remove(inputs[name])
        return ir.passes.PassResult(model, bool(self._slots))
