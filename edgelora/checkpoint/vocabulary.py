"""The tokens of a tokenizer and their ids, read from its tokenizer.json.

text of a tokenizer.json -> Vocabulary

A file that the tokenizers package would refuse gives what can be read of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer.json says of tokens and ids."""

    tokens: Mapping[str, int]  # every one
    added: Mapping[str, int]  # found before a text is split: markers of turns are among them
    around: tuple[tuple[str, int], ...]  # put around every text


def read_vocabulary(tokenizer_json: str) -> Vocabulary:
    """The vocabulary of a tokenizer.json, which is JSON."""
    document = json.loads(tokenizer_json)
    entries = document.get("added_tokens") or ()
    added = _ids((entry.get("content"), entry.get("id")) for entry in entries if isinstance(entry, dict))
    stored = _field(document.get("model"), "vocab")
    tokens: dict[str, int] = {}
    if isinstance(stored, dict):
        tokens = _ids(stored.items())
    elif isinstance(stored, list):  # Unigram: pairs of a token and its score
        tokens = _ids((entry[0], index) for index, entry in enumerate(stored) if isinstance(entry, list) and entry)
    return Vocabulary({**tokens, **added}, added, tuple(_around_text(document.get("post_processor"))))


def _ids(pairs: Iterable[tuple[Any, Any]]) -> dict[str, int]:
    return {token: index for token, index in pairs if isinstance(token, str) and isinstance(index, int)}


def _around_text(processor: Any) -> Iterator[tuple[str, int]]:
    """Tokens and ids that a post-processor of the tokenizers package adds to one text."""
    for step in _field(processor, "processors") or ():  # a Sequence
        yield from _around_text(step)
    for pair in (_field(processor, "cls"), _field(processor, "sep")):  # BertProcessing and RobertaProcessing
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], int):
            yield str(pair[0]), pair[1]
    for piece in _field(processor, "single") or ():  # TemplateProcessing
        token = str(_field(_field(piece, "SpecialToken"), "id"))
        for index in _field(_field(_field(processor, "special_tokens"), token), "ids") or ():
            if isinstance(index, int):
                yield token, index


def _field(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
