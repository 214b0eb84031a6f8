"""A decoder graph on its way from a frontend to a file, and where its weights come from.

graph, WeightSource -> DecoderGraph
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

LINEAR_DOMAIN = "edgelora"  # only between passes: no exported file contains it
LINEAR = "Linear"  # Linear(x, weight...) -> x @ concat(weights).T


@dataclass(frozen=True)
class WeightSource:
    """Where an initializer of shape (rows, ...) comes from: rows ``start`` to ``stop`` of a checkpoint tensor.

    Rows are counted as out_features, also for tensors that the checkpoint stores transposed.
    """

    tensor: str
    start: int
    stop: int

    @property
    def module(self) -> str:
        """The module path that PEFT would name."""
        return self.tensor.removesuffix(".weight").removesuffix(".bias")


@dataclass(frozen=True)
class DecoderGraph:
    """The graph, mutated by passes, with the source of every initializer that has no value of its own.

    Inputs as a frontend leaves them: ``input_ids``, ``attention_mask``, maybe ``position_ids``, and the cache.
    """

    model: ir.Model
    sources: Mapping[str, WeightSource]
    num_layers: int
    num_kv_heads: int
    head_dim: int
    context_length: int
    vocab_size: int
