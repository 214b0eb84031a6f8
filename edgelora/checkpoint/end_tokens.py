"""Finds the tokens that end an answer, and holds every id that a checkpoint names to its vocabulary.

declared ids, TokenizerFiles, Vocabulary -> end tokens, notes

A Hugging Face folder and a GGUF file of one model get the same answer here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from edgelora.checkpoint.vocabulary import Vocabulary
from edgelora.errors import CheckpointError, EdgeLoraError
from edgelora.values import TokenizerFiles
from edgelora_runtime.text import Tokenizer

_END_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|end_of_text|>",
    "<|endoftext|>",
)
_NO_VOCABULARY = json.dumps({"model": {"type": "BPE", "vocab": {}, "merges": []}})  # rendering reads no token
_ANSWER = "Answer"
_TURNS = ({"role": "user", "content": "Question"}, {"role": "assistant", "content": _ANSWER})
_SHOWN = 3


class _NoRowError(CheckpointError):
    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def find_end_tokens(
    declared: Mapping[str, Any],
    tokenizer: TokenizerFiles | None,
    known: Vocabulary | None,
    rows: int | None,
    name: str,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Every token id that ends an answer, the declared ones first, and a note on those that nothing declares.

    ``declared`` is what each place says: an id, a list of them or None. A chat template declares one too, by what it
    writes after an answer; models learn to stop there, and their config may not say so.
    ``known`` are the tokens of the tokenizer, ``rows`` those of the embedding, None where they are not known.
    Raises CheckpointError for an id that is none, or that has no row.
    """
    ids: list[int] = []
    for place, value in declared.items():
        ids += _read_ids(place, value, rows, name)
    if tokenizer is None or known is None:
        return tuple(dict.fromkeys(ids)), ()
    if tokenizer.eos_token is not None:
        ids += _read_ids("the tokenizer's eos_token", known.tokens.get(tokenizer.eos_token), rows, name)
    added = known.added
    inferred = {
        token: added[token]
        for token in _end_of_turn(tokenizer, added, ids)
        if added[token] not in ids and (rows is None or added[token] < rows)
    }
    notes = (
        f"The chat template ends a turn with {token!r} (id {index}), which no config names as an end token; "
        "answers end there too."
        for token, index in inferred.items()
    )
    return tuple(dict.fromkeys([*ids, *inferred.values()])), tuple(notes)


def special_ids(config: Mapping[str, Any], rows: int | None, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """``config`` whose ids of single tokens have ``rows`` in the embedding, and a note on those that were left out.

    -1, as some configs have it, becomes None. So do start and padding ids without a row, which nothing here feeds: a
    gpt2 of any size says 50256 unless somebody changed it. An end token without a row is refused.
    """
    checked, notes = dict(config), []
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        try:
            found = _read_ids(key, config.get(key), rows, name)
        except _NoRowError as error:
            if key == "eos_token_id":
                raise
            found = []
            notes.append(f"{key} is {error.index} and was left out: the embedding has {rows} rows.")
        if isinstance(config.get(key), list):
            checked[key] = found or None
        elif key in config:
            checked[key] = found[0] if found else None
    return checked, tuple(notes)


def unreachable_tokens(known: Vocabulary | None, rows: int | None, name: str) -> tuple[str, ...]:
    """A note on tokens that the embedding has no row for: somebody added them and did not resize it.

    Raises CheckpointError where the tokenizer puts such a token around every text.
    """
    if known is None or rows is None:
        return ()
    for token, index in known.around:
        if index >= rows:
            raise CheckpointError(
                f"{name}: its tokenizer puts {token[:40]!r} (id {index}) around every text, but the embedding has "
                f"{rows} rows; take it out of the post-processor, or resize the embedding and train it"
            )
    beyond = {index: token for token, index in known.tokens.items() if index >= rows}
    if not beyond:
        return ()
    shown = ", ".join(repr(token[:40]) for _, token in sorted(beyond.items())[:_SHOWN])
    note = f"The tokenizer has {len(beyond)} tokens that the embedding of {rows} rows has no place for ({shown})"
    return (f"{note}; text that holds one cannot be used.",)


def _read_ids(place: str, value: Any, rows: int | None, name: str) -> list[int]:
    ids: list[int] = []
    for index in value if isinstance(value, list) else [value]:
        if index is None or index == -1:  # both say: there is none
            continue
        if not isinstance(index, int) or isinstance(index, bool):
            raise CheckpointError(f"{name}: {place} is {str(value)[:60]!r}; expected an integer or a list of them")
        if index < 0 or (rows is not None and index >= rows):
            raise _NoRowError(
                f"{name}: {place} is {index}, but the embedding has {rows} rows; mend the id, or resize the "
                "embedding and train it",
                index,
            )
        ids.append(index)
    return ids


def _end_of_turn(tokenizer: TokenizerFiles, known: Mapping[str, int], ids: list[int]) -> Iterator[str]:
    """Known markers that the template writes, and the token that it writes after an answer."""
    if tokenizer.chat_template is None:
        return
    yield from (token for token in _END_OF_TURN if token in tokenizer.chat_template and token in known)
    after = list(_tokens_after_answer(tokenizer, known))
    if after and not any(known[token] in ids for token in after):
        yield after[0]


def _tokens_after_answer(tokenizer: TokenizerFiles, known: Mapping[str, int]) -> Iterator[str]:
    """The added tokens that stand, with nothing but blanks between, after an answer that a question follows."""
    longest_first = sorted((token for token in known if token.strip()), key=len, reverse=True)
    rest = _render_after_answer(tokenizer).lstrip()
    while token := next((token for token in longest_first if rest.startswith(token)), None):
        yield token
        rest = rest[len(token) :].lstrip()


def _render_after_answer(files: TokenizerFiles) -> str:
    renderer = Tokenizer.from_text(
        _NO_VOCABULARY,
        files.chat_template,
        bos_token=files.bos_token,
        eos_token=files.eos_token,
        pad_token=files.pad_token,
        unk_token=files.unk_token,
    )
    for turns in ((*_TURNS, _TURNS[0]), _TURNS):
        try:
            _, answer, after = renderer.render(turns, add_generation_prompt=False).rpartition(_ANSWER)
        except EdgeLoraError:
            continue  # a template of its own mind; what it writes is known when it gets what it wants
        return after if answer else ""
    return ""
