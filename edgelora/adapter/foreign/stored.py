"""What a folder holds before anybody has said what it means: settings and tensors; and what comes out: plain factors.

folder -> Stored

Nothing is interpreted here but names of files, and what wraps the names of modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgelora.adapter.plain import PREFIX
from edgelora.errors import AdapterError, ArtifactError
from edgelora.values import Checkpoint, FloatArray
from edgelora_runtime.adapter import WEIGHTS_FILE, Factors
from edgelora_runtime.adapter_config import read_fields
from edgelora_runtime.parse_json import join_some, show
from edgelora_runtime.patterns import PatternError, matches_ending
from edgelora_runtime.shared_factors import map_tensors

MLX_WEIGHTS_FILE = "adapters.safetensors"

# What data parallelism, torch.compile and FSDP put between the parts of a name.
_WRAPPINGS = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|module)(?=\.)")

Places = Mapping[str, tuple[int, int]]  # module -> (out_features, in_features) of those that an adapter may change


@dataclass(frozen=True, eq=False)
class Stored:
    """A folder as it was written."""

    where: str
    config: Mapping[str, Any]
    tensors: Mapping[str, FloatArray]  # by name, without PEFT's prefix and what wraps modules
    has_wrappings: bool = False  # whether names were longer in the file for the latter

    def parts(self, *kinds: str) -> dict[str, dict[str, FloatArray]]:
        """Module -> kind -> tensor; raises AdapterError naming every tensor that is of none of ``kinds``."""
        found: dict[str, dict[str, FloatArray]] = {}
        odd = []
        for name, tensor in self.tensors.items():
            module, _, kind = name.removesuffix(".weight").removesuffix(".default").rpartition(".")
            if kind in kinds and module:
                found.setdefault(module, {})[kind] = tensor
            else:
                odd.append(f"{name} is none of {', '.join(kinds)}")
        if odd:
            raise self.refused(odd)
        return found

    def refused(self, lines: Iterable[str]) -> AdapterError:
        """The one error for all that is wrong with the folder."""
        return AdapterError(f"{self.where} cannot be converted: {join_some(list(lines))}")


@dataclass(frozen=True, eq=False)
class Plain:
    """Factors that are the adapter, and what it took to get them."""

    factors: Mapping[str, Factors]
    steps: tuple[str, ...] = ()  # a line each, for people

    def then(self, factors: Mapping[str, Factors], step: str | None) -> Plain:
        """The same after one more step."""
        return Plain(factors, self.steps if step is None else (*self.steps, step))


@dataclass(frozen=True, eq=False)
class Base:
    """What is known of the model that an adapter is for: places alone of an artifact, weights too of a checkpoint."""

    places: Places = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    model_type: str | None = None  # of an artifact; a checkpoint says it itself, and so with the heads
    heads: Mapping[str, int] = field(default_factory=dict)  # of q_proj and k_proj


def read_stored(folder: Path) -> Stored:
    """Everything in the folder, floats as float32; raises AdapterError where there is nothing to read."""
    config = read_fields(folder)
    path = next((path for name in (WEIGHTS_FILE, MLX_WEIGHTS_FILE) if (path := folder / name).is_file()), None)
    if path is None:
        raise AdapterError(f"{folder} has no {WEIGHTS_FILE}{_other_weights(folder)}")
    try:
        tensors = map_tensors(path)
    except ArtifactError as error:
        raise AdapterError(str(error)) from error
    named: dict[str, FloatArray] = {}
    odd = []
    has_wrappings = any(_unwrapped(name) != name.removeprefix(PREFIX) for name in tensors)
    for name, tensor in tensors.items():
        short = _unwrapped(name)
        if tensor.dtype.kind != "f":
            odd.append(f"{name} is {tensor.dtype}, expected floats")
        elif short in named and not np.array_equal(named[short], tensor):
            odd.append(f"{short} is there twice, with different numbers")
        elif not np.isfinite(value := tensor.astype(np.float32)).all():
            odd.append(f"{name} holds numbers that are not finite")
        else:
            named[short] = value
    stored = Stored(str(folder), config, named, has_wrappings)
    if odd or not named:
        raise stored.refused(odd or [f"{path.name} holds no tensors"])
    return stored


def _unwrapped(name: str) -> str:
    """A tensor's name without PEFT's prefix and what torch wraps modules in."""
    return _WRAPPINGS.sub("", name.removeprefix(PREFIX)).lstrip(".")


def check_alone(stored: Stored) -> None:
    """Raise AdapterError for what a neighbour of LoRA may train beside its linears, and no slot can hold."""
    config = stored.config
    wrong = [f"it trained {field} whole" for field in ("modules_to_save",) if config.get(field)]
    if config.get("bias", "none") not in (None, "none"):
        wrong.append(f"bias is {config['bias']!r}, expected 'none'")
    if config.get("trainable_token_indices"):
        wrong.append("it trained token embeddings (trainable_token_indices)")
    if wrong:
        raise stored.refused(wrong)


def number(stored: Stored, field: str, module: str | None = None, pattern: str | None = None) -> float:
    """A positive setting, of one module where ``pattern`` names the field of its exceptions; raises AdapterError."""
    value = stored.config.get(field)
    for key, item in (stored.config.get(pattern or "") or {}).items():
        try:
            if module is not None and matches_ending(key, module):
                value = item
                break
        except PatternError as error:
            raise stored.refused([f"{pattern}: {error}"]) from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise stored.refused([f"{field} is {show(value)}, expected a number above 0"])
    return float(value)


def need(stored: Stored, module: str, parts: Mapping[str, FloatArray], *kinds: str) -> tuple[FloatArray, ...]:
    """Tensors of a module by kind; raises AdapterError naming those that are missing."""
    if missing := [kind for kind in kinds if kind not in parts]:
        raise stored.refused([f"{module}: {', '.join(missing)} missing"])
    return tuple(parts[kind] for kind in kinds)


def _other_weights(folder: Path) -> str:
    pickles = [name for name in ("adapter_model.bin", "adapters.npz", "adapter_model.pt") if (folder / name).is_file()]
    if pickles:
        return f"; {pickles[0]} can run code when it is opened and is not read: save the adapter as safetensors"
    return f" and no {MLX_WEIGHTS_FILE}; save the adapter again"
