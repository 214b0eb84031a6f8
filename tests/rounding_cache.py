"""PyTorch with the KV cache of an artifact that keeps it in 8 bits.

Knows nothing about where the steps come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from transformers import DynamicCache


class RoundingCache(DynamicCache):
    """A KV cache whose numbers are whole steps, -128 to 127 of them; attention sees what was rounded."""

    def __init__(self, scales: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self._scales = scales  # key and value of each layer in turn, each (1, num_kv_heads, 1, head_dim)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, cache_kwargs: Any = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Round what enters the cache."""
        steps = self._scales[2 * layer_idx : 2 * layer_idx + 2]
        key, value = (
            (states / step).round().clamp(-128, 127) * step
            for states, step in zip((key_states, value_states), steps, strict=True)
        )
        return super().update(key, value, layer_idx, cache_kwargs)


def steps_of(graph: Path) -> list[torch.Tensor]:
    """The steps that stand in an exported graph, for ``RoundingCache``."""
    constants = ir.load(graph).graph.initializers
    count = sum(name.endswith(".key.scale") for name in constants)
    values = [
        constants[f"cache.{layer}.{part}.scale"].const_value for layer in range(count) for part in ("key", "value")
    ]
    return [torch.from_numpy(value.numpy().copy()) for value in values if value is not None]
