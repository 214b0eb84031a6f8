"""The figures that the report leads with: ratios of turns, each with its aim.

Knows nothing about how turns are taken; ratios are made round by round, so that a drifting machine cancels out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelora.evaluation.timing import Spread, spread

NO_SLOTS = "edgelora, graph without slots"
OFF = "edgelora, adapter off"
OFF_TWIN = "edgelora, adapter off, twin in memory"
RANK_8 = "edgelora, rank 8"
RANK_16 = "edgelora, rank 16"
FUSED_RANK_16 = "edgelora with its operators, rank 16 in int8"
ROWS = "edgelora, 8 rows with 8 adapters"
GENAI = "onnxruntime-genai, no adapter"
GENAI_RANK_16 = "onnxruntime-genai, rank 16 built in"
LLAMA = "llama.cpp Q4_0, no adapter"
LLAMA_RANK_16 = "llama.cpp Q4_0, rank 16"
LLAMA_Q4_1 = "llama.cpp Q4_1, no adapter"
LLAMA_Q4_1_RANK_16 = "llama.cpp Q4_1, rank 16"
PEFT_OFF = "PEFT float32, adapter off"
PEFT_RANK_16 = "PEFT float32, rank 16"

N_ROWS = 8


@dataclass(frozen=True)
class Ratio:
    """One figure: what over what, of which times, and how many times the result is to be multiplied."""

    name: str
    times: str  # "decode_ms" or "prefill_ms"
    over: str  # label whose time is divided
    under: str  # label whose time it is divided by
    aim: float | None = None
    factor: float = 1.0
    higher_is_better: bool = False


RATIOS = (
    Ratio("decode, rank 16 over no adapter", "decode_ms", RANK_16, NO_SLOTS, 1.12),
    Ratio("decode, rank 8 over no adapter", "decode_ms", RANK_8, NO_SLOTS, 1.08),
    Ratio("decode, adapter off over a graph without slots", "decode_ms", OFF, NO_SLOTS, 1.00),
    Ratio("the same with the twin in memory", "decode_ms", OFF_TWIN, NO_SLOTS, 1.00),
    Ratio("decode, no adapter, over onnxruntime-genai", "decode_ms", NO_SLOTS, GENAI, 0.90),
    Ratio("decode, rank 16, over onnxruntime-genai with it built in", "decode_ms", RANK_16, GENAI_RANK_16),
    Ratio("decode, no adapter, over llama.cpp Q4_0", "decode_ms", NO_SLOTS, LLAMA),
    Ratio("decode, rank 16, over llama.cpp Q4_0 with rank 16", "decode_ms", RANK_16, LLAMA_RANK_16, 0.45),
    Ratio(
        "decode, rank 16 in int8 with our operators, over llama.cpp Q4_0 with rank 16", "decode_ms", FUSED_RANK_16,
        LLAMA_RANK_16, 1.0,
    ),
    Ratio("decode, rank 16, over llama.cpp Q4_1 with rank 16", "decode_ms", RANK_16, LLAMA_Q4_1_RANK_16, 0.45),
    Ratio("decode, rank 16, over PEFT in float32", "decode_ms", RANK_16, PEFT_RANK_16),
    Ratio("onnxruntime-genai: rank 16 over no adapter", "decode_ms", GENAI_RANK_16, GENAI),
    Ratio("llama.cpp Q4_0: rank 16 over no adapter", "decode_ms", LLAMA_RANK_16, LLAMA),
    Ratio(
        "prefill, no adapter, tokens/s over onnxruntime-genai", "prefill_ms", GENAI, NO_SLOTS, 1.5, 1.0, True
    ),
    Ratio(
        "prefill, rank 16, tokens/s over llama.cpp Q4_0", "prefill_ms", LLAMA_RANK_16, RANK_16, None, 1.0,
        True,
    ),
    Ratio(
        "eight rows with eight adapters, tokens/s over one row", "decode_ms", RANK_16, ROWS, 4.0, float(N_ROWS), True
    ),
)  # fmt: skip


def ratio_of(ratio: Ratio, turns: Mapping[str, Any]) -> Spread | None:
    """Median and percentiles over the rounds; None where one side was not measured."""
    times: Mapping[str, Sequence[float]] = turns[ratio.times]
    if not times.get(ratio.over) or not times.get(ratio.under):
        return None
    return spread((ratio.factor * np.array(times[ratio.over]) / np.array(times[ratio.under])).tolist())


def without_effect(turns: Mapping[str, Any]) -> list[str]:
    """Labels with an adapter whose tokens are those of the same engine without one: it was not measured at all."""
    pairs = (
        (RANK_8, NO_SLOTS),
        (RANK_16, NO_SLOTS),
        (GENAI_RANK_16, GENAI),
        (LLAMA_RANK_16, LLAMA),
        (LLAMA_Q4_1_RANK_16, LLAMA_Q4_1),
        (PEFT_RANK_16, PEFT_OFF),
    )
    tokens = turns["tokens"]
    return [on for on, off in pairs if on in tokens and off in tokens and list(tokens[on]) == list(tokens[off])]
