"""Adds an adapter into the weights of a base, before anything is quantized: W + scaling * B @ A, and what DoRA adds.

Checkpoint, PEFT folder -> MergedCheckpoint
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgelora.adapter.claimed import find_unclaimed
from edgelora.adapter.foreign.stored import read_stored
from edgelora.adapter.foreign.whole import kinds_beside_lora, needs_merge, read_whole
from edgelora.checkpoint.derived import DerivedCheckpoint
from edgelora.checkpoint.finite import check_finite
from edgelora.checkpoint.names import is_head, module_of, turned, turned_shape, weight_of
from edgelora.checkpoint.placing import head_modules
from edgelora.errors import AdapterError
from edgelora.grid.make import Grid, parse_quant, plan_grid
from edgelora.merging.merged_head import with_head_of
from edgelora.values import Checkpoint, FloatArray, QuantizedMatrix, QuantSpec
from edgelora_runtime.adapter import Factors, read_adapter
from edgelora_runtime.adapter_config import read_fields
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.receipt import read_receipt


@dataclass(frozen=True)
class MergedCheckpoint(DerivedCheckpoint):
    """A base with an adapter added; tensors that the adapter does not touch keep even their packed codes."""

    factors: Mapping[str, Factors]  # tensor name -> what is added to it
    trained_on: Grid | None  # the grid whose values the adapter has learned to correct; None for the float weights
    magnitudes: Mapping[str, FloatArray] = field(default_factory=dict)  # tensor name -> length of each of its rows
    values: Mapping[str, FloatArray] = field(default_factory=dict)  # tensor name -> what was trained whole

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the base, and what was merged."""
        count = len(self.factors.keys() | self.values.keys())
        return (*self.base.notes, f"an adapter was merged into {count} tensors") if count else self.base.notes

    def read(self, name: str) -> FloatArray:
        """The base's tensor, with what the adapter adds to it, or the adapter's in its place."""
        if name in self.values:
            return check_finite(self.values[name], name, f"{self.name} with the adapter merged")
        weight = self.base.read(name) if self.trained_on is None or is_head(name) else self.trained_on.value(name)
        if name not in self.factors:
            return weight
        merged: FloatArray = weight + turned(name, self.factors[name].delta())
        if name in self.magnitudes:
            merged = turned(name, _of_length(turned(name, merged), self.magnitudes[name]))
        return check_finite(merged, name, f"{self.name} with the adapter merged")

    def packed(self, name: str) -> QuantizedMatrix | None:
        """None for a merged tensor: its values left the grid. Any other keeps the codes it has, to the bit."""
        if name in self.factors or name in self.values:
            return None
        snapped = None if self.trained_on is None else self.trained_on.matrices.get(name)
        return snapped if snapped is not None else self.base.packed(name)


def merge_adapter(checkpoint: Checkpoint, folder: Path, own: Grid | None) -> MergedCheckpoint:
    """Merge the PEFT folder into ``checkpoint``; raises AdapterError listing every module that does not fit.

    An adapter that was trained on a grid is added to the values of that grid, the ones it has learned to correct.
    ``own`` is the grid that this export makes of the base; mostly the adapter was trained on that.
    """
    if checkpoint.task.generates and needs_merge(folder):  # an encoder's head is a matter of its own
        stored = read_stored(folder)
        whole = read_whole(stored, checkpoint)
        _check_claims(checkpoint, stored.config, [module_of(name) for name in whole.factors], folder)
        if not any(item.a.any() and item.b.any() for item in whole.factors.values()) and not whole.values:
            raise AdapterError(f"{folder} changes nothing: every product B A is zero; train it before merging")
        return MergedCheckpoint(checkpoint, whole.factors, None, whole.magnitudes, whole.values)
    if not checkpoint.task.generates and (kinds := kinds_beside_lora(read_fields(folder))):
        raise AdapterError(
            f"{folder} uses {' and '.join(kinds)}, which is merged into models that write text alone; `edgelora export "
            "--dora` has slots for DoRA"
        )
    factors = read_factors(checkpoint, folder)
    base = checkpoint
    if not checkpoint.task.generates:
        base = with_head_of(checkpoint, read_adapter(folder, with_head=True), folder)
    return MergedCheckpoint(base, factors, _trained_on(checkpoint, folder, own))


def read_factors(checkpoint: Checkpoint, folder: Path) -> Mapping[str, Factors]:
    """Tensor name -> the factors of a PEFT folder that change it; raises AdapterError for what does not fit."""
    adapter = read_adapter(folder, with_head=not checkpoint.task.generates)
    if adapter.invocation:
        raise AdapterError(
            f"{folder} is an activated adapter (alora_invocation_tokens), which acts on some tokens alone and cannot "
            "be merged; give it with --adapter NAME=ADAPTER_DIR"
        )
    names = set(checkpoint.names())
    head = () if checkpoint.task.generates else head_modules(checkpoint.config["model_type"], checkpoint.task.name)
    wrong: list[str] = []
    factors: dict[str, Factors] = {}
    for module, item in adapter.factors.items():
        name = weight_of(module)
        if name not in names:
            in_head = "it is of the head, which is learned whole (modules_to_save) and not by factors"
            wrong.append(f"{module}: {in_head if module in head else 'the base has no such module'}")
            continue
        shape = turned_shape(name, checkpoint.shape(name))
        if (item.b.shape[0], item.a.shape[1]) != shape:
            wrong.append(f"{module}: B A is {(item.b.shape[0], item.a.shape[1])}, the base {shape}")
        elif item.scaling != 0 and item.a.any() and item.b.any():
            factors[name] = item
    if wrong:
        raise AdapterError(f"{folder} does not fit {checkpoint.name}: {join_some(wrong)}")
    _check_claims(checkpoint, read_fields(folder), adapter.factors, folder)
    if not factors:
        raise AdapterError(f"{folder} changes nothing: every product B A is zero; train it before merging")
    return factors


def _check_claims(checkpoint: Checkpoint, config: Mapping[str, Any], found: Collection[str], folder: Path) -> None:
    if wrong := find_unclaimed(checkpoint, config, found):
        raise AdapterError(f"{folder} is not whole: {join_some(wrong)}; save or copy the adapter again")


def _of_length(weight: FloatArray, lengths: FloatArray) -> FloatArray:
    """Each row (out_features, in_features) at its length: DoRA's ``m * V / |V|``."""
    found: FloatArray = weight * (lengths / np.linalg.norm(weight, axis=1))[:, None]
    return found


def _trained_on(checkpoint: Checkpoint, folder: Path, own: Grid | None) -> Grid | None:
    receipt = read_receipt(folder)
    if receipt is None or receipt.quantization is None:
        return None
    if own is not None and own.fingerprint == receipt.grid:
        return own
    quantization = receipt.quantization
    method = quantization.get("method", "rtn")  # receipts of version 1 name bits, block_size and symmetric alone
    if method != "rtn":
        raise AdapterError(
            f"{folder} was trained on a {method} grid, which its receipt alone cannot make again; export with the "
            "grid it was trained on"
        )
    plan = parse_quant(f"int{quantization['bits']}", quantization["block_size"], quantization["symmetric"])
    overrides = {name: QuantSpec(**own) for name, own in quantization.get("overrides", {}).items()}
    grid = plan_grid(checkpoint, dataclasses.replace(plan, overrides=overrides))
    if grid.fingerprint != receipt.grid:
        raise AdapterError(
            f"{folder} was trained on grid {str(receipt.grid)[:12]} of {receipt.name}, but {checkpoint.name} gives "
            f"{grid.fingerprint[:12]} with the same settings; merge it into the base it was trained on"
        )
    return grid
