"""Adds an adapter slot beside the linears of the layers, or some of them: ``y = Linear(x) + x @ a @ b``.

graph, WeightSource -> graph with inputs for factors

One graph serves every rank.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import onnx_ir as ir

from edgelora.errors import ConfigError
from edgelora_onnx.decoder_graph import WeightSource
from edgelora_onnx.slots import add_delta, find_slots
from edgelora_runtime.manifest import Slot


class AddSlots(ir.passes.InPlacePass):
    """After the call, ``slots`` describes the new graph inputs in graph order.

    ``only`` are the last parts of module names; modules that are packed side by side share a slot, so one of them
    brings the others along. ``gains`` gives each slot a place for DoRA's.
    """

    def __init__(
        self, sources: Mapping[str, WeightSource], only: Collection[str] | None = None, gains: bool = False
    ) -> None:
        super().__init__()
        self._sources = sources
        self._gains = gains
        self._only = None if only is None else frozenset(only)
        self.slots: tuple[Slot, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Add the slots; raises ConfigError for a name that no linear has."""
        found = list(find_slots(model.graph, self._sources))
        chosen = found if self._only is None else self._choose(found, self._only)
        slots: dict[str, tuple[Slot, list[ir.Value]]] = {}
        for node, found_slot in chosen:
            slot = dataclasses.replace(found_slot, gain=f"{found_slot.name}.lora_gain") if self._gains else found_slot
            if slot.name not in slots:
                a = _input(slot.a, [f"{slot.name}.n", slot.in_features, f"{slot.name}.rank"])
                b = _input(slot.b, [f"{slot.name}.n", f"{slot.name}.rank", slot.out_features])
                gains = [] if slot.gain is None else [_input(slot.gain, [f"{slot.name}.n", 1, slot.out_features])]
                model.graph.inputs.extend([a, b, *gains])
                slots[slot.name] = slot, [a, b, *gains]
            add_delta(model.graph, node, slot, *slots[slot.name][1])
        self.slots = tuple(slot for slot, _ in slots.values())
        return ir.passes.PassResult(model, bool(slots))

    def _choose(self, found: list[tuple[ir.Node, Slot]], only: frozenset[str]) -> list[tuple[ir.Node, Slot]]:
        names = [{part.module.rsplit(".", 1)[-1] for part in slot.parts} for _, slot in found]
        known = frozenset().union(*names)
        if unknown := sorted(only - known):
            raise ConfigError(
                f"--slots: no linear of the layers is called {', '.join(unknown)}; there are {', '.join(sorted(known))}"
            )
        return [pair for pair, parts in zip(found, names, strict=True) if parts & only]


def _input(name: str, shape: list[str | int]) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
