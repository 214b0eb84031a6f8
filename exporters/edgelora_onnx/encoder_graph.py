"""A graph without a KV cache on its way from a frontend to a file, and where its weights come from.

graph, WeightSource -> EncoderGraph
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from edgelora_onnx.decoder_graph import WeightSource


@dataclass(frozen=True)
class EncoderGraph:
    """The graph, mutated by passes, with the source of every initializer that has no value of its own.

    Inputs as a frontend leaves them: ``input_ids`` and ``attention_mask``, or ``pixel_values``. The one output is
    ``logits`` or ``last_hidden_state``. ``head`` are the sizes of the head's initializers, 0 for the number of labels.
    """

    model: ir.Model
    sources: Mapping[str, WeightSource]
    head: Mapping[str, tuple[int, ...]]
    hidden_size: int
    num_heads: int
    vocab_size: int
    image_size: tuple[int, ...] = ()
