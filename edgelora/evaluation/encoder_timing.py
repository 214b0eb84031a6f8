"""How long an artifact without a KV cache takes: a text alone, many texts, every adapter on one text, another adapter.

EncoderModel -> EncoderTimings

Adapters are measured in turns inside one process, so that their ratio holds on a machine whose speed drifts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelora.evaluation.timing import Spread, spread
from edgelora_runtime import EncoderModel
from edgelora_runtime.manifest import Manifest

TEXT_TOKENS = 32
ROWS = 32  # texts of a batch
IMAGES = 4
_WARM_UP = 2  # rounds that are not counted
_SWAPS = 50  # in each round


@dataclass(frozen=True)
class EncoderTimings:
    """What was measured, by SPEC; milliseconds."""

    text_ms: Mapping[str, Spread]  # one text of TEXT_TOKENS, or one image
    ratio: Mapping[str, float]  # of that to the first SPEC: median over rounds, each round compared with itself
    batch_ms: Mapping[str, Spread]  # one text of ROWS together
    swap_ms: Spread  # making another loaded adapter the one that answers
    each_ms: Spread | None  # every adapter on one text, in one call; None with fewer than two


def time_encoder(
    model: EncoderModel, specs: Sequence[str], rounds: int, step: Callable[[], None] = lambda: None
) -> EncoderTimings:
    """Measure every SPEC in every round; ``step`` is called after each round."""
    rows = make_rows(model.manifest)
    alone: dict[str, list[float]] = {spec: [] for spec in specs}
    batched: dict[str, list[float]] = {spec: [] for spec in specs}
    each: list[float] = []
    swaps: list[float] = []
    for number in range(_WARM_UP + rounds):
        found = {}
        for spec in [*specs[number % len(specs) :], *specs[: number % len(specs)]]:
            found[spec] = _took(model, rows[:1], spec), _took(model, rows, spec) / len(rows)
        together = _took(model, rows[:1] * len(specs), list(specs)) if len(specs) > 1 else None
        if number >= _WARM_UP:
            for spec, (text, batch) in found.items():
                alone[spec].append(text)
                batched[spec].append(batch)
            each += [] if together is None else [together]
            swaps += [_swap(model, specs[count % len(specs)]) for count in range(_SWAPS)]
        step()
    first = np.array(alone[specs[0]])
    return EncoderTimings(
        {spec: spread(times) for spec, times in alone.items()},
        {spec: round(float(np.median(np.array(times) / first)), 4) for spec, times in alone.items()},
        {spec: spread(times) for spec, times in batched.items()},
        spread(swaps),
        spread(each) if each else None,
    )


def rounds_with_warm_up(rounds: int) -> int:
    """How often ``step`` is called by ``time_encoder``."""
    return rounds + _WARM_UP


def make_rows(manifest: Manifest) -> list[Any]:
    """Rows of fixed pseudo-random token ids, or pixels."""
    rng = np.random.default_rng(0)
    encoder = manifest.encoder
    assert encoder is not None
    if encoder.image_size:
        return list(rng.standard_normal((IMAGES, *encoder.image_size)).astype(np.float32))
    length = min(TEXT_TOKENS, manifest.model.context_length)
    rows: list[Any] = rng.integers(0, manifest.model.vocab_size, (ROWS, length)).tolist()
    return rows


def _took(model: EncoderModel, rows: list[Any], adapter: str | list[str]) -> float:
    given = np.stack(rows) if model.manifest.encoder is not None and model.manifest.encoder.image_size else rows
    started = time.perf_counter()
    model.outputs(given, adapter=adapter)
    return 1e3 * (time.perf_counter() - started)


def _swap(model: EncoderModel, spec: str) -> float:
    started = time.perf_counter()
    model.set_adapter(spec)
    return 1e3 * (time.perf_counter() - started)
