"""Turns the decoder graph into its fused twin: each slot is one node that multiplies packed adapters by row.

decoder graph with slots -> the same with one node for each

``docs/format.md`` ("The fused graph") says what the inputs hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgelora_onnx.slots import fuse_delta, slot_inputs
from edgelora_runtime.fused import BLOCKS, FACTORS, WEIGHTS
from edgelora_runtime.manifest import Slot

DOMAIN = "edgelora"
LOW_RANK = "LowRank"


class FuseSlots(ir.passes.InPlacePass):
    """Inputs of every slot become three for all of them; the linears and their initializers stay as they are."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        super().__init__()
        self._slots = slots

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Put one node in the place of those of each slot."""
        if not self._slots:
            return ir.passes.PassResult(model, False)
        inputs = {value.name: value for value in model.graph.inputs}
        adapters = [
            _input(FACTORS, ir.DataType.UINT8, ["adapter.bytes"]),
            _input(BLOCKS, ir.DataType.INT64, ["adapter.rows", "adapter.pieces", len(self._slots)]),
            _input(WEIGHTS, ir.DataType.FLOAT, ["adapter.rows", "adapter.pieces"]),
        ]
        for index, slot in enumerate(self._slots):
            attributes: dict[str, int | list[int]] = {
                "in_features": slot.in_features,
                "columns": [*(part.offset for part in slot.parts), slot.out_features],
                "slot": index,
            }
            fuse_delta(model.graph, inputs[slot.a], inputs[slot.b], adapters, (DOMAIN, LOW_RANK), attributes)
            for name in slot_inputs(slot):
                model.graph.inputs.remove(inputs[name])
        model.graph.inputs.extend(adapters)
        model.graph.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, True)


def _input(name: str, kind: ir.DataType, shape: list[str | int]) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(kind))
