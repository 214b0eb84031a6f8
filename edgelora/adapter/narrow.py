"""Rounds the factors of an adapter to what they are stored as: float16, or 8 bits with a scale for each rank.

Adapter, store -> Adapter

The rounded numbers are what every device multiplies with; those that have an operator for it pack them as codes. A file
holds the codes themselves, a quarter of what floats take.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora.adapter.smallest import smallest
from edgelora.errors import AdapterError, ConfigError
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Adapter, Factors
from edgelora_runtime.code_rows import join_rows, widen_rows
from edgelora_runtime.grid_of_factors import round_to_codes
from edgelora_runtime.manifest import FLOAT_STORE, HALF_STORE, INT8_STORE
from edgelora_runtime.safetensors import read_safetensors, write_safetensors

STORES = (FLOAT_STORE, HALF_STORE, INT8_STORE)


def check_store(store: str) -> None:
    """Raise ConfigError for anything but the three ways to store factors."""
    if store not in STORES:
        raise ConfigError(f"--store is {store!r}; choose {', '.join(STORES[:-1])} or {STORES[-1]}")


def narrow(adapter: Adapter, store: str) -> Adapter:
    """The same adapter with rounded factors; raises AdapterError for numbers that float16 cannot hold."""
    if store == FLOAT_STORE:
        return adapter
    rounded = {
        module: Factors(_round(item.a, store, module), _round(item.b.T, store, module).T, item.scaling, item.gain)
        for module, item in adapter.factors.items()
    }
    return dataclasses.replace(adapter, factors=rounded)


def narrow_file(path: Path, store: str) -> None:
    """Round the factors in an adapter's file, to codes or to float16; head and gains stay."""
    tensors: dict[str, npt.NDArray[Any]] = {}
    for key, values in widen_rows(read_safetensors(path), str(path.parent)).items():
        if ".lora_" not in key or ".lora_gain" in key:
            tensors[key] = values
            continue
        wide = values.astype(np.float32)
        is_b = ".lora_B." in key
        rows = wide.T if is_b else wide
        if store == INT8_STORE:
            tensors[key] = join_rows(*round_to_codes(rows))
            continue
        rounded = _round(rows, store, key)
        tensors[key] = smallest(np.ascontiguousarray(rounded.T if is_b else rounded))
    write_safetensors(path, tensors)


def largest_error(before: Adapter, after: Adapter) -> float:
    """The largest error of a module's delta over the delta, as Frobenius norms; a module of zeros has none."""
    return max((_error(item, after.factors[module]) for module, item in before.factors.items()), default=0.0)


def _error(before: Factors, after: Factors) -> float:
    delta = before.delta()
    norm = float(np.linalg.norm(delta))
    return float(np.linalg.norm(after.delta() - delta)) / norm if norm else 0.0


def _round(values: FloatArray, store: str, where: str) -> FloatArray:
    """Each row of ``values`` is one rank."""
    if store == HALF_STORE:
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise AdapterError(
                f"{where} holds {np.abs(values).max():g}, more than float16 can; add it with --store int8 or float32"
            )
        return half.astype(np.float32)
    codes, scales = round_to_codes(values)
    return codes * scales[:, None]
