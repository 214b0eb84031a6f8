"""An adapter of any kind as plain LoRA, and the PEFT folder that holds it.

PEFT folder -> PlainAdapter, and back
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora.adapter.smallest import smallest
from edgelora.values import FloatArray
from edgelora_runtime.adapter import WEIGHTS_FILE, Adapter, read_adapter
from edgelora_runtime.adapter_config import CONFIG_FILE, read_fields
from edgelora_runtime.files import write_atomically
from edgelora_runtime.safetensors import map_safetensors, write_safetensors
from edgelora_runtime.shared_factors import map_tensors

PREFIX = "base_model.model."


@dataclass(frozen=True)
class PlainAdapter:
    """Plain LoRA in float32, or DoRA with gains, its ``adapter_config.json``, and what the way here was worth telling.

    ``halves`` are the factors, such as ``model.layers.0.mlp.up_proj.lora_A``, that were stored as float16 and go back
    to that, or as codes of which float16 holds every product.
    """

    adapter: Adapter
    config: Mapping[str, Any]
    halves: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def factors(self) -> dict[str, npt.NDArray[Any]]:
        """Every factor by such a name, in the type that it is stored as."""
        wide: dict[str, FloatArray] = {}
        for module, item in self.adapter.factors.items():
            wide |= {f"{module}.lora_A": item.a, f"{module}.lora_B": item.b}
            if item.gain is not None:
                wide[f"{module}.lora_gain"] = item.gain
        return {name: value.astype(np.float16) if name in self.halves else value for name, value in wide.items()}


def read_plain(folder: Path) -> PlainAdapter:
    """A folder of PEFT that holds plain LoRA, and a head where it has one; raises AdapterError for any other."""
    adapter = read_adapter(folder, with_head=True)
    stored = map_safetensors(folder / WEIGHTS_FILE)
    halves = {
        key.removeprefix(PREFIX).replace(".default.", ".").removesuffix(".weight")
        for key, value in map_tensors(folder / WEIGHTS_FILE).items()
        if value.dtype == np.float16 or (stored[key].dtype == np.int8 and smallest(value).dtype == np.float16)
    }
    return PlainAdapter(adapter, read_fields(folder), frozenset(halves))


def write_plain(folder: Path, plain: PlainAdapter) -> None:
    """Write a folder of PEFT that gives exactly these factors, and this head, back."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, npt.NDArray[Any]] = {f"{PREFIX}{name}.weight": value for name, value in plain.factors().items()}
    tensors |= {f"{PREFIX}{name}": value for name, value in plain.adapter.head.items()}
    write_safetensors(folder / WEIGHTS_FILE, tensors)
    text = json.dumps(plain.config, indent=2, ensure_ascii=False, sort_keys=True)
    write_atomically(folder / CONFIG_FILE, text + "\n")


def with_ranks(config: Mapping[str, Any], adapter: Adapter) -> dict[str, Any]:
    """``config`` with rank and alpha of every module: the usual ones, and exceptions under full module names."""
    ranks = {module: int(item.a.shape[0]) for module, item in adapter.factors.items()}
    alphas = {module: ranks[module] * item.scaling for module, item in adapter.factors.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    return {
        **config,
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": _whole(alpha),
        "rank_pattern": {module: found for module, found in ranks.items() if found != rank},
        "alpha_pattern": {module: _whole(found) for module, found in alphas.items() if found != alpha},
        "use_rslora": False,
        "init_lora_weights": True,
    }


def _whole(alpha: float) -> float | int:
    return int(alpha) if float(alpha).is_integer() else float(alpha)
