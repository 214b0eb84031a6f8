"""Turns rows into token ids with the runtime's own tokenizer, so that training renders exactly as the device does.

Knows nothing about tensors or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgelora.data import Problem, Row, Rows, name_problems
from edgelora.errors import CheckpointError, DataError, EdgeLoraError
from edgelora_runtime.text import Tokenizer


@dataclass(frozen=True)
class Example:
    """A row as token ids; the loss covers ``ids[prompt_length:]`` and nothing else."""

    line: int  # of the row in its file
    ids: tuple[int, ...]
    prompt_length: int  # at least 1: the first token has nothing to be predicted from


@dataclass(frozen=True)
class Encoded:
    """The examples of a file, and every line that became none."""

    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]  # in the order of their lines


def encode_rows(
    rows: Rows, tokenizer: Tokenizer, eos_ids: Sequence[int], max_length: int, raw: bool, where: str
) -> Encoded:
    """Encode every row that fits into ``max_length`` tokens.

    ``raw`` leaves the chat template out. Raises DataError when nothing is left; ``where`` names the file there.
    """
    if not eos_ids:
        raise CheckpointError("the checkpoint names no end-of-text token; set eos_token_id in its config.json")
    examples: list[Example] = []
    problems = list(rows.problems)
    for row in rows.rows:
        try:
            example = encode_row(row, tokenizer, eos_ids, raw)
        except EdgeLoraError as error:
            problems.append(Problem(row.line, str(error)))
            continue
        if len(example.ids) > max_length:
            problems.append(Problem(row.line, f"{len(example.ids)} tokens, more than --max-length {max_length}"))
        elif len(example.ids) <= example.prompt_length:
            problems.append(Problem(row.line, "too few tokens to predict one from another"))
        else:
            examples.append(example)
    problems.sort(key=lambda problem: problem.line)
    if not examples:
        raise DataError(f"{where} has no row to train on: {name_problems(problems)}")
    return Encoded(tuple(examples), tuple(problems))


def encode_row(row: Row, tokenizer: Tokenizer, eos_ids: Sequence[int], raw: bool = False) -> Example:
    """Token ids of one row, ending with the token that ends an answer; raises DataError when it cannot be rendered."""
    if isinstance(row.prompt, tuple) and tokenizer.chat_template is not None and not raw:
        return _encode_chat(row.line, [dict(message) for message in row.prompt], row.completion, tokenizer, eos_ids)
    prompt = _raw_prompt(row)
    prompt_ids = drop_end(tokenizer.encode(prompt, special=True), eos_ids) if prompt else []
    if not prompt_ids:
        ids = drop_end(tokenizer.encode(row.completion, special=True), eos_ids)
        return Example(row.line, (*ids, eos_ids[0]), 1)
    answer = _encode_after(prompt_ids, prompt, row.completion, tokenizer, special=True)
    return Example(row.line, (*prompt_ids, *drop_end(answer, eos_ids), eos_ids[0]), len(prompt_ids))


def _encode_chat(
    line: int, messages: list[dict[str, str]], completion: str, tokenizer: Tokenizer, eos_ids: Sequence[int]
) -> Example:
    prompt = tokenizer.render(messages, add_generation_prompt=True)
    full = tokenizer.render([*messages, {"role": "assistant", "content": completion}], add_generation_prompt=False)
    prompt_ids = tokenizer.encode(prompt, special=False)
    if full.startswith(prompt):
        answer = _encode_after(prompt_ids, prompt, full[len(prompt) :], tokenizer, special=False)
        ends = [index for index, token in enumerate(answer) if token in eos_ids]
        # What the template puts after the end of turn (a newline, mostly) is never generated.
        answer = answer[: ends[0] + 1] if ends else [*answer, eos_ids[0]]
    else:
        # Some templates render a finished turn unlike the one they open (a thinking block, for example). The device
        # sees the opened one, so the answer follows that, and ends as the finished one does.
        ends = [token for token in tokenizer.encode(full, special=False) if token in eos_ids]
        answer = [*tokenizer.encode(completion, special=False), ends[-1] if ends else eos_ids[0]]
    return Example(line, (*prompt_ids, *answer), max(1, len(prompt_ids)))


def _encode_after(prompt_ids: Sequence[int], prompt: str, text: str, tokenizer: Tokenizer, special: bool) -> list[int]:
    """Token ids of ``text`` where it follows ``prompt``; the ids of the prompt stay what the device will feed."""
    together = tokenizer.encode(prompt + text, special=special)
    if together[: len(prompt_ids)] == list(prompt_ids):
        return together[len(prompt_ids) :]
    return tokenizer.encode(text, special=False)  # a token would reach over the border


def _raw_prompt(row: Row) -> str:
    if isinstance(row.prompt, str):
        return row.prompt
    if len(row.prompt) > 1:
        raise DataError(f"{len(row.prompt)} messages before the answer need a chat template; the prompt is used raw")
    return row.prompt[0]["content"]


def drop_end(ids: list[int], eos_ids: Sequence[int]) -> list[int]:
    """Without the end token that some tokenizers append to every text."""
    return ids[:-1] if ids and ids[-1] in eos_ids else ids
