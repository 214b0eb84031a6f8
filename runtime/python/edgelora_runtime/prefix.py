"""The KV cache after tokens that many prompts begin with, in a file, so that a fixed instruction is computed once.

Prefix -> a file, and back
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from edgelora_runtime.bound_adapter import BoundAdapter
from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.safetensors import map_safetensors, write_safetensors

CacheArray = npt.NDArray[np.float32] | npt.NDArray[np.int8]

_NAMES = {"tokens", "cache", "made_with"}


@dataclass(frozen=True, eq=False)
class Prefix:
    """Tokens and what the attention layers keep of them."""

    tokens: tuple[int, ...]
    cache: CacheArray  # (2 * num_layers, num_kv_heads, n_tokens, head_dim): key and value of each layer in turn


class Prefixes:
    """The prefixes that a session knows of each adapter, for as long as the adapter is there."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[BoundAdapter, list[Prefix]] = WeakKeyDictionary()

    def add(self, adapter: BoundAdapter, prefix: Prefix) -> None:
        """Know ``prefix`` of ``adapter``, in place of one of the same tokens."""
        others = [item for item in self._of.get(adapter, ()) if item.tokens != prefix.tokens]
        self._of[adapter] = [*others, prefix]

    def find(self, adapter: BoundAdapter, ids: Sequence[int]) -> tuple[int, Prefix | None]:
        """The prefix of ``adapter`` that shares most with the beginning of ``ids``, and how many tokens that is."""
        known = [(shared_length(item.tokens, ids), item) for item in self._of.get(adapter, ())]
        return max(known, key=lambda pair: pair[0], default=(0, None))

    def clear(self) -> None:
        """Forget all of them."""
        self._of.clear()


def shared_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common beginning of two sequences."""
    shortest = min(len(left), len(right))
    return next((index for index in range(shortest) if left[index] != right[index]), shortest)


def write_prefix(path: Path, prefix: Prefix, made_with: str) -> None:
    """Write ``path`` whole or not at all; ``made_with`` names graph, weights and adapter."""
    tensors: dict[str, npt.NDArray[Any]] = {
        "tokens": np.array(prefix.tokens, np.int64),
        "cache": prefix.cache,
        "made_with": _digest(made_with),
    }
    write_safetensors(path, tensors)


def read_prefix(path: Path, made_with: str, shape: tuple[int, int, int], dtype: npt.DTypeLike) -> Prefix:
    """The prefix of a file, its cache mapped and not read; ``shape`` is (2 * num_layers, num_kv_heads, head_dim).

    Raises ArtifactError when the file is damaged or was made with something else.
    """
    tensors = map_safetensors(path)
    if set(tensors) != _NAMES:
        raise ArtifactError(
            f"{path} holds {join_some(sorted(tensors), ', ') or 'nothing'}, expected {', '.join(sorted(_NAMES))}"
        )
    if not np.array_equal(tensors["made_with"], _digest(made_with)):
        raise ArtifactError(f"{path} was kept with another artifact or adapter; keep the prefix anew with these")
    tokens, cache = tensors["tokens"], tensors["cache"]
    if tokens.ndim != 1 or tokens.dtype != np.int64:
        raise ArtifactError(f"{path}: tokens is {tokens.dtype} {tokens.shape}, expected a list of ids; keep it anew")
    expected = (*shape[:2], len(tokens), shape[2])
    if cache.shape != expected or cache.dtype != dtype:
        kind = np.dtype(dtype).name
        raise ArtifactError(f"{path}: cache is {cache.dtype} {cache.shape}, expected {kind} {expected}; keep it anew")
    return Prefix(tuple(tokens.tolist()), cache)


def _digest(made_with: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(hashlib.sha256(made_with.encode()).digest(), np.uint8)
