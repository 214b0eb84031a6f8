"""Converts DoRA for a grid: what it multiplies each row of a weight with goes into B, and beside it as a gain.

PEFT folder, weights of a grid -> PlainAdapter with gains

PEFT answers ``g * (W x + s B A x) + bias`` with ``g = m / |W + s B A|`` of each row. That is ``W x + bias``, and
``(g - 1) * W x + s (g B) A x`` beside it: linear in what an adapter adds, so that blends and rows of a batch need no
other rule than plain LoRA.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelora.adapter.foreign.places import place
from edgelora.adapter.foreign.stored import Places, Plain
from edgelora.adapter.plain import PlainAdapter, with_ranks
from edgelora.errors import AdapterError, ArtifactError
from edgelora.values import FloatArray
from edgelora_runtime.adapter import WEIGHTS_FILE, Adapter, Factors, make_adapter
from edgelora_runtime.adapter_config import CONFIG_FILE, DORA_TYPE, GRID_FIELD, check_config, read_fields
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.safetensors import map_safetensors

_MAGNITUDE = ".lora_magnitude_vector"
_NOTE = "DoRA's magnitudes as gains on grid {}, exactly"


@dataclass(frozen=True)
class GridWeights:
    """What the linears of an artifact multiply with: ``read`` gives each module's weight (out_features, in_features),
    and ``grid`` is the fingerprint of those values.
    """

    grid: str
    read: Callable[[Collection[str]], Iterator[tuple[str, FloatArray]]]


@dataclass(frozen=True, eq=False)
class Dora:
    """A folder of PEFT as it was saved; the ``gain`` of each module's factors holds its magnitudes."""

    where: str
    adapter: Adapter
    config: Mapping[str, Any]
    steps: tuple[str, ...] = ()


def is_dora(folder: Path) -> bool:
    """Whether a folder says that it is DoRA as PEFT saves it, whatever else it is; False where it is unreadable."""
    return _config(folder).get("peft_type") == "LORA" and bool(_config(folder).get("use_dora"))


def has_gains(folder: Path) -> bool:
    """Whether an adapter needs slots with a place for gains: DoRA, as PEFT saves it or converted."""
    return is_dora(folder) or _config(folder).get("peft_type") == DORA_TYPE


def read_dora(folder: Path, places: Places) -> Dora:
    """DoRA on linears, and a head where it has one, under the names of ``places``; raises AdapterError for others."""
    config = read_fields(folder)
    checked = check_config({**config, "use_dora": False}, str(folder / CONFIG_FILE), with_head=True)
    if checked.invocation:
        raise AdapterError(f"{folder} is DoRA and activated (alora_invocation_tokens), which PEFT has no answer for")
    try:
        tensors = dict(map_safetensors(folder / WEIGHTS_FILE))
    except ArtifactError as error:
        raise AdapterError(str(error)) from error
    magnitudes = {name: tensors.pop(name) for name in list(tensors) if _module_of(name) is not None}
    adapter = make_adapter(checked, tensors, str(folder))
    found: dict[str, FloatArray] = {}
    wrong = []
    for name, tensor in magnitudes.items():
        module, value = str(_module_of(name)), tensor.astype(np.float32).reshape(-1)
        if module not in adapter.factors or len(value) != len(adapter.factors[module].b):
            wrong.append(f"{name} is {tensor.shape}, which fits no B")
        elif tensor.dtype.kind != "f" or not np.isfinite(value).all():
            wrong.append(f"{name} holds numbers that are not finite")
        found[module] = value
    wrong += [f"{module}: lora_magnitude_vector is missing" for module in adapter.factors if module not in found]
    if wrong:
        raise AdapterError(f"{folder} cannot be converted: {join_some(wrong)}; save the adapter again")
    factors = {module: dataclasses.replace(item, gain=found[module]) for module, item in adapter.factors.items()}
    placed = place(Plain(factors), places) if places else Plain(factors)
    if lost := [module for module, item in placed.factors.items() if item.gain is None]:
        raise AdapterError(
            f"{folder} is DoRA of projections that the base has fused or in pieces ({join_some(lost, ', ')}), whose "
            "magnitudes are no longer those of its rows; train it on this base's own modules"
        )
    return Dora(str(folder), dataclasses.replace(adapter, factors=placed.factors), config, placed.steps)


def convert_dora(dora: Dora, weights: GridWeights) -> PlainAdapter:
    """The same adapter with gains, for one grid; raises AdapterError for a row that has no length."""
    factors: dict[str, Factors] = {}
    wrong = []
    for module, weight in weights.read(dora.adapter.factors.keys()):
        item = dora.adapter.factors[module]
        assert item.gain is not None
        if weight.shape != (len(item.b), item.a.shape[1]):
            wrong.append(f"{module} is {(len(item.b), item.a.shape[1])}, the artifact has {weight.shape}")
            continue
        length = np.linalg.norm(weight + item.delta(), axis=1)  # (out_features,)
        if not length.all():
            wrong.append(f"{module} has a row of zeros, which has no direction")
            continue
        scale = item.gain.astype(np.float64) / length
        b = (scale[:, None] * item.b).astype(np.float32)
        factors[module] = Factors(item.a, b, item.scaling, (scale - 1).astype(np.float32))
    missing = [module for module in dora.adapter.factors if module not in factors]
    if wrong or missing:
        told = wrong or [f"the artifact has no {join_some(missing, ', ')}"]
        raise AdapterError(f"{dora.where} does not fit: {join_some(told)}; use an adapter trained for this base")
    adapter = dataclasses.replace(dora.adapter, factors=factors, grid=weights.grid)
    config = {**dora.config, "use_dora": False}
    if dora.steps:  # what it claims are names that it has no longer
        unclaimed = dict.fromkeys(("exclude_modules", "layers_to_transform", "layers_pattern"))
        config |= {"target_modules": sorted(factors), **unclaimed}
    config = with_ranks(config, adapter) | {"peft_type": DORA_TYPE, GRID_FIELD: weights.grid}
    return PlainAdapter(adapter, config, notes=(*dora.steps, _NOTE.format(weights.grid[:12])))


def _module_of(name: str) -> str | None:
    """The module whose magnitudes a tensor holds, None where it holds others."""
    short = name.removeprefix("base_model.model.").removesuffix(".weight").removesuffix(".default")
    return short.removesuffix(_MAGNITUDE) if short.endswith(_MAGNITUDE) else None


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        return read_fields(folder)
    except (AdapterError, OSError):
        return {}
