"""Ninety short texts of many kinds, written for this project, to calibrate and measure on where no rows are given.

Tokenizer -> token ids

Two thirds calibrate, the rest measures, so that no grid is judged by what it was fitted to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from edgelora.errors import EdgeLoraError
from edgelora_runtime.text import Tokenizer

TEXT_FILE = "varied_text.jsonl"  # prose, talk, code, tables, lists and other languages in turns
_PART = 3  # every third text measures
_TOKENS = 512  # positions that are measured, at least
_LONGEST = 64  # tokens of one text that are measured
_CALIBRATED = 256  # tokens of one text that calibrate


def calibration_ids(
    tokenizer: Tokenizer | None, vocab_size: int, context_length: int, short: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Token ids of the texts that calibrate, pseudo-random ones for a model without a tokenizer.

    ``short`` takes the first half of every second text: enough for one number an input, not for a matrix.
    """
    longest = min(_CALIBRATED // 2 if short else _CALIBRATED, context_length)
    if tokenizer is None:
        return _random_ids(vocab_size, longest, seed=17)
    rows = [row for index, row in enumerate(_read()) if index % _PART != _PART - 1]
    encoded = (_encode(row, tokenizer)[:longest] for row in rows[:: 2 if short else 1])
    return tuple(ids for ids in encoded if ids)


def measured_ids(tokenizer: Tokenizer | None, vocab_size: int, context_length: int) -> tuple[tuple[int, ...], ...]:
    """Token ids of at least 512 positions to measure on; pseudo-random ones for a model without a tokenizer."""
    longest = min(_LONGEST, context_length)
    if tokenizer is None:
        return _random_ids(vocab_size, longest, seed=13)
    # Rows of equal kinds follow one another; taken from all over the file, a few hold something of each.
    rows = _read()[_PART - 1 :: _PART]
    encoded = [_encode(row, tokenizer) for row in (*rows[::2], *rows[1::2])]
    starts = range(0, max(map(len, encoded)), longest)  # a short context needs more than the beginnings
    found: list[tuple[int, ...]] = []
    for ids in (ids[start : start + longest] for start in starts for ids in encoded):
        found += [ids] if ids else []
        if sum(map(len, found)) >= _TOKENS:
            break
    return tuple(found)


def _random_ids(vocab_size: int, longest: int, seed: int) -> tuple[tuple[int, ...], ...]:
    rows = np.random.default_rng(seed).integers(0, vocab_size, (-(-_TOKENS // longest), longest))
    return tuple(tuple(int(token) for token in row) for row in rows)


def _read() -> Sequence[Mapping[str, Any]]:
    text = files("edgelora.data").joinpath(TEXT_FILE).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _encode(row: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[int, ...]:
    """A talk goes through the chat template where there is one that takes it."""
    if "text" in row:
        return tuple(tokenizer.encode(row["text"], special=True))
    messages = row.get("messages") or [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["completion"]},
    ]
    # A template that writes the date would give another grid tomorrow.
    if tokenizer.chat_template is not None and "strftime_now" not in tokenizer.chat_template:
        try:
            return tuple(tokenizer.encode_chat(messages, add_generation_prompt=False))
        except EdgeLoraError:
            pass  # a template may refuse such a talk; its words still measure
    return tuple(tokenizer.encode("\n\n".join(message["content"] for message in messages), special=True))
