"""The options of one call, checked together.

Knows nothing about models: names, ranges and what excludes what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from edgelora_runtime.errors import InputError
from edgelora_runtime.sampling import SamplingOptions


class IdOptions(TypedDict, total=False):
    """Keyword arguments of ``Model.generate_ids`` beside the adapter."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    seed: int | None


class TextOptions(IdOptions, total=False):
    """Keyword arguments of ``Model.generate`` and ``Model.chat`` beside adapter, raw and stream."""

    stop: str | Sequence[str]
    choices: Sequence[str] | None


@dataclass(frozen=True)
class Request:
    """Options that passed the check."""

    sampling: SamplingOptions
    max_new_tokens: int
    stops: tuple[str, ...] = ()
    choices: tuple[str, ...] | None = None


def make_request(
    sampling: SamplingOptions,
    max_new_tokens: int,
    stop: str | Sequence[str] = (),
    choices: Sequence[str] | None = None,
) -> Request:
    """Check what ``SamplingOptions`` did not; raises one InputError with everything that is wrong."""
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    wrong = []
    if not isinstance(max_new_tokens, (int, np.integer)) or isinstance(max_new_tokens, bool) or max_new_tokens < 1:
        wrong.append(f"max_new_tokens is {max_new_tokens!r}, expected a whole number from 1")
    if not all(isinstance(item, str) and item for item in stops):
        wrong.append(f"stop is {stop!r}, expected strings that are not empty")
    if choices is not None:
        if isinstance(choices, str) or not all(isinstance(item, str) for item in choices):
            wrong.append(f"choices is {choices!r}, expected a list of strings")
        elif not choices or len(set(choices)) != len(choices):
            wrong.append(f"choices is {list(choices)!r}, expected at least one string, all different")
        if stops:
            wrong.append("choices and stop exclude each other")
    if wrong:
        raise InputError("; ".join(wrong))
    return Request(sampling, int(max_new_tokens), stops, None if choices is None else tuple(choices))
