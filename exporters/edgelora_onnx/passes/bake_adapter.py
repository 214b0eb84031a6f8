"""Puts the factors of one adapter into the graph as constants: always on, and no place for another.

graph, Factors -> graph with the adapter built in

Modules without factors stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from edgelora_onnx.decoder_graph import WeightSource
from edgelora_onnx.initializers import add_constant
from edgelora_onnx.slots import add_delta, find_slots
from edgelora_runtime.adapter import Adapter, Factors, fit_adapter
from edgelora_runtime.packing import pack_adapter


class BakeAdapter(ir.passes.InPlacePass):
    """``factors`` are given by module name; those of a packed linear become one pair, as in a slot."""

    def __init__(self, sources: Mapping[str, WeightSource], factors: Mapping[str, Factors]) -> None:
        super().__init__()
        self._sources = sources
        self._adapter = Adapter(factors)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Add the pairs; raises AdapterError for modules that the graph does not have and for wrong shapes."""
        places = list(find_slots(model.graph, self._sources))
        fit_adapter(self._adapter, [slot for _, slot in places], "the adapter to build in")
        for node, slot in places:
            packed = pack_adapter(self._adapter, [slot])
            a, b = packed[slot.a][0], packed[slot.b][0]  # (in_features, rank), (rank, out_features)
            if a.shape[1]:
                pair = add_constant(model.graph, slot.a, a), add_constant(model.graph, slot.b, b)
                add_delta(model.graph, node, slot, *pair)
        return ir.passes.PassResult(model, True)
