"""Turns rows into token ids with the runtime's own tokenizer, so that training renders exactly as the device does.

Rows, Tokenizer -> Encoded
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgelora.data.rows import Problem, Row, Rows, name_problems
from edgelora.errors import CheckpointError, DataError, EdgeLoraError
from edgelora_runtime.invocation import find_last
from edgelora_runtime.messages import as_text
from edgelora_runtime.text import Tokenizer


@dataclass(frozen=True)
class Example:
    """A row as token ids; the loss covers ``ids[prompt_length:]`` and nothing else."""

    line: int  # of the row in its file
    ids: tuple[int, ...]
    prompt_length: int  # at least 1 where the next token is predicted: the first has nothing to be predicted from
    start: int = 0  # index in the prompt from which an activated adapter acts

    @property
    def tokens(self) -> int:
        """Tokens that are read."""
        return len(self.ids)

    @property
    def learned(self) -> int:
        """Positions that the loss is the mean of."""
        return len(self.ids) - self.prompt_length

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from others."""
        return (self.ids, self.prompt_length)


class AnyExample(Protocol):
    """What a run learns from, whatever the task."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Token ids of its first text."""

    @property
    def tokens(self) -> int:
        """Tokens that are read."""

    @property
    def learned(self) -> int:
        """What the loss is the mean of."""

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from others."""


@dataclass(frozen=True)
class Encoded:
    """The examples of a file, and every line that became none."""

    examples: tuple[Any, ...]
    problems: tuple[Problem, ...]  # in the order of their lines
    earlier_answers: int = 0  # assistant turns that stand in the prompts, where they are read and not learned
    cut: int = 0  # rows that lost their end


def encode_rows(
    rows: Rows,
    tokenizer: Tokenizer,
    eos_ids: Sequence[int],
    max_length: int,
    raw: bool,
    where: str,
    invocation: Sequence[int] = (),
    *,
    context: int,
) -> Encoded:
    """Encode every row that fits into ``max_length`` tokens, and into the ``context`` of the model.

    ``raw`` leaves the chat template out. Of a conversation the last answer is learned, the earlier ones are counted.
    A prompt must have the token ids of an ``invocation``, where there is one.
    Raises DataError when nothing is left; ``where`` names the file there.
    """
    if not eos_ids:
        raise CheckpointError("the checkpoint names no end-of-text token; set eos_token_id in its config.json")
    examples: list[Example] = []
    problems = list(rows.problems)
    earlier = 0
    for row in rows.rows:
        try:
            example = encode_row(row, tokenizer, eos_ids, raw)
        except EdgeLoraError as error:
            problems.append(Problem(row.line, str(error)))
            continue
        start = find_last(example.ids[: example.prompt_length], invocation) if invocation else 0
        if start is None:
            problems.append(Problem(row.line, "the prompt lacks the invocation, so the adapter would do nothing"))
        elif len(example.ids) > context:
            problems.append(Problem(row.line, f"{len(example.ids)} tokens, the model holds {context}"))
        elif len(example.ids) > max_length:
            problems.append(Problem(row.line, f"{len(example.ids)} tokens, more than --max-length {max_length}"))
        elif len(example.ids) <= example.prompt_length:
            problems.append(Problem(row.line, "too few tokens to predict one from another"))
        else:
            examples.append(dataclasses.replace(example, start=start))
            earlier += sum(message["role"] == "assistant" for message in row.prompt if isinstance(message, Mapping))
    problems.sort(key=lambda problem: problem.line)
    if not examples:
        raise DataError(f"{where} has no row to train on: {name_problems(problems)}")
    return Encoded(tuple(examples), tuple(problems), earlier)


def encode_row(row: Row, tokenizer: Tokenizer, eos_ids: Sequence[int], raw: bool = False) -> Example:
    """Token ids of one row, ending with the token that ends an answer.

    Raises DataError when it cannot be rendered, when what would be learned is not what the row says, and for a token
    that the model has no row for.
    """
    example = _encode_row(row, tokenizer, eos_ids, raw)
    check_ids(example.ids, tokenizer)
    return example


def check_ids(ids: Sequence[int], tokenizer: Tokenizer) -> None:
    """Raise DataError for a token that the tokenizer knows and the model does not: added, without a row of its own."""
    if tokenizer.vocab_size is not None and ids and max(ids) >= tokenizer.vocab_size:
        raise DataError(
            f"it holds token {max(ids)}, and the model ends at {tokenizer.vocab_size - 1}: a token that was added to "
            "the tokenizer, but not to the embedding"
        )


def _encode_row(row: Row, tokenizer: Tokenizer, eos_ids: Sequence[int], raw: bool) -> Example:
    if isinstance(row.prompt, tuple) and tokenizer.chat_template is not None and not raw:
        messages = [dict(message) for message in row.prompt]
        if row.answer is not None:
            return _encode_message(row, row.answer, messages, tokenizer, eos_ids)
        prompt_ids = tokenizer.encode_chat(messages, tools=row.tools)
        answer = tokenizer.encode_answer(messages, row.completion, row.tools)
        end = _find_end(row, messages, tokenizer, eos_ids)
        _check_answer(row.completion, prompt_ids, answer, tokenizer)
        return Example(row.line, (*prompt_ids, *answer, *end), max(1, len(prompt_ids)))
    prompt = _raw_prompt(row)
    prompt_ids = tokenizer.encode_prompt(prompt, end_ids=eos_ids) if prompt else []
    if not prompt_ids:
        ids = tokenizer.encode_prompt(row.completion, end_ids=eos_ids)
        _check_answer(row.completion, [], ids, tokenizer)
        return Example(row.line, (*ids, *eos_ids[:1]), 1)
    answer = tokenizer.encode_after(prompt, row.completion, special=True, end_ids=eos_ids)
    _check_answer(row.completion, prompt_ids, answer, tokenizer)
    return Example(row.line, (*prompt_ids, *answer, *eos_ids[:1]), len(prompt_ids))


def _encode_message(
    row: Row, answer: Mapping[str, Any], messages: list[dict[str, Any]], tokenizer: Tokenizer, eos_ids: Sequence[int]
) -> Example:
    """An answer with tool calls or reasoning: what the template writes of it behind the prompt, up to its end token."""
    prompt = tokenizer.render(messages, tools=row.tools)
    finished = tokenizer.render([*messages, answer], False, row.tools)
    for key in ("tool_calls", "reasoning_content"):
        rest = {name: value for name, value in answer.items() if name != key}
        rest.setdefault("content", "")
        if answer.get(key) and finished == tokenizer.render(
            [*messages, {**rest, "content": rest["content"] or ""}], False, row.tools
        ):
            raise DataError(f"the chat template has no place for {key} of an answer; write it as text, or leave it out")
    if not finished.startswith(prompt):
        raise DataError(
            "the chat template writes an answer with tool calls or reasoning otherwise than it opens one, so no device "
            "would ever see what stands before it; give the answer as text"
        )
    if special := next((text for text in _texts(answer) if tokenizer.find_special(text)), None):
        raise DataError(f"the answer holds the text of a special token, {tokenizer.find_special(special)!r}")
    prompt_ids = tokenizer.encode(prompt, special=False)
    ids = tokenizer.encode_after(prompt, finished[len(prompt) :])
    whole = tokenizer.decode([*prompt_ids, *ids], special=True)
    if whole.removeprefix(tokenizer.decode(prompt_ids, special=True)) != finished[len(prompt) :]:
        raise DataError("the tokens of the answer do not decode to it: the tokenizer drops or changes some of it")
    ends = [index for index, token in enumerate(ids) if token in eos_ids]
    ids = ids[: ends[0] + 1] if ends else [*ids, *eos_ids[:1]]
    return Example(row.line, (*prompt_ids, *ids), max(1, len(prompt_ids)))


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _find_end(
    row: Row, messages: Sequence[Mapping[str, Any]], tokenizer: Tokenizer, eos_ids: Sequence[int]
) -> Sequence[int]:
    """The token that ends a turn in the chat template: the first end token behind the answer, else the model's."""
    answer = row.completion
    prompt = tokenizer.render(messages, tools=row.tools)
    finished = tokenizer.render([*messages, {"role": "assistant", "content": answer}], False, row.tools)
    if not finished.startswith(prompt):
        return [token for token in tokenizer.encode(finished, special=False) if token in eos_ids][-1:] or eos_ids[:1]
    words = answer.strip()  # which is all that some templates keep
    start = max(finished.find(words, len(prompt)), len(prompt))
    ends = [token for token in tokenizer.encode(finished[start + len(words) :], special=False) if token in eos_ids]
    return ends[:1] or eos_ids[:1]


def _check_answer(text: str, prompt_ids: Sequence[int], ids: Sequence[int], tokenizer: Tokenizer) -> None:
    """Raise DataError unless exactly ``text`` would be learned."""
    if tokenizer.is_decoded(prompt_ids, ids, text):
        return
    found = tokenizer.decode(ids)
    start = next((at for at, (a, b) in enumerate(zip(text, found, strict=False)) if a != b), min(len(text), len(found)))
    raise DataError(
        f"the tokens of the answer decode to {_excerpt(found, start)}, not to {_excerpt(text, start)}: it holds the "
        "text of a special token, or what the tokenizer drops or changes"
    )


def _excerpt(text: str, start: int) -> str:
    """The part of ``text`` around ``start``, short enough for one line."""
    first, last = max(0, start - 10), start + 20
    return repr(f"{'…' if first else ''}{text[first:last]}{'…' if last < len(text) else ''}")


def _raw_prompt(row: Row) -> str:
    if row.tools is not None or row.answer is not None:
        raise DataError("tools, tool calls and reasoning need a chat template; the prompt is used raw")
    if isinstance(row.prompt, str):
        return row.prompt
    if len(row.prompt) > 1:
        raise DataError(f"{len(row.prompt)} messages before the answer need a chat template; the prompt is used raw")
    return as_text(row.prompt[0].get("content"))
