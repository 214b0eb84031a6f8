"""Reads training and evaluation rows from a JSONL file and says which lines cannot be used, and why.

Knows nothing about tokens, models or chat templates: a row is text, and every line that is no row keeps its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from edgelora.errors import DataError
from edgelora_runtime.parse_json import JsonError, read_value, show

SHAPES = '{"messages"}, {"prompt", "completion"}, {"text"} or {"text", "label"}'
_SHOWN = 3  # problems named in a one-line error


@dataclass(frozen=True)
class Row:
    """One example. ``prompt`` is a conversation for the chat template, or raw text that goes in as it is."""

    line: int  # in the file, from 1
    prompt: tuple[Mapping[str, str], ...] | str  # messages of "role" and "content"; "" for plain language modelling
    completion: str  # what the model shall answer
    label: bool = False  # the completion is one of a closed set of classes


@dataclass(frozen=True)
class Problem:
    """A line that is no usable row."""

    line: int  # from 1
    reason: str


@dataclass(frozen=True)
class Rows:
    """Every usable row of a file in its order, and every line that is none."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


def read_rows(path: Path) -> Rows:
    """Read a JSONL file; raises DataError when it is missing or has no usable row, naming the first problems."""
    if not path.is_file():
        raise DataError(f"{path} is not a file; expected one JSON object a line: {SHAPES}")
    rows: list[Row] = []
    problems: list[Problem] = []
    lines = path.read_bytes().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for number, line in enumerate(lines, start=1):
        found = _parse_line(number, line)
        if isinstance(found, Row):
            rows.append(found)
        else:
            problems.append(Problem(number, found))
    if not rows:
        raise DataError(f"{path} has no usable row: {name_problems(problems) or 'it is empty'}; expected {SHAPES}")
    return Rows(tuple(rows), tuple(problems))


def name_problems(problems: Sequence[Problem]) -> str:
    """The first problems in one line, with the number of those left out."""
    shown = "; ".join(f"line {problem.line}: {problem.reason}" for problem in problems[:_SHOWN])
    more = len(problems) - _SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def _parse_line(number: int, line: bytes) -> Row | str:
    """The row of one line, or the reason why it is none."""
    try:
        # A byte order mark may open the file; JSON itself allows none.
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    if not text:
        return "the line is empty"
    try:
        data = read_value(text)
    except JsonError as error:
        return f"not JSON ({error})"
    if not isinstance(data, dict):
        return f"a JSON {type(data).__name__}, not an object"
    found = _parse_row(number, data)
    if isinstance(found, Row) and not _encodable(found):
        return "holds half of a surrogate pair, which is no character"
    return found


def _parse_row(number: int, data: Mapping[str, Any]) -> Row | str:
    if "messages" in data:
        return _parse_messages(number, data["messages"])
    if "completion" in data or "prompt" in data:
        return _parse_prompt(number, data)
    if "text" not in data:
        return f"has the keys {show(sorted(data))}, expected {SHAPES}"
    text = data["text"]
    if not _is_filled(text):
        return "text is empty or no string"
    if "label" not in data:
        return Row(number, "", text)
    label = data["label"]
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)  # class numbers are common; the model answers with their digits
    if not _is_filled(label):
        return "label is empty or neither string nor whole number"
    return Row(number, _ask(text), label, label=True)


def _parse_messages(number: int, messages: object) -> Row | str:
    reason = _check_messages(messages)
    if reason is not None or not isinstance(messages, list):
        return reason or "messages is not a list"
    if messages[-1]["role"] != "assistant":
        return f"the last message is of role {show(messages[-1]['role'])}, expected 'assistant'"
    if len(messages) == 1:
        return "has no message before the answer"
    if not messages[-1]["content"].strip():
        return "the answer is empty"
    return Row(number, _keep(messages[:-1]), messages[-1]["content"])


def _parse_prompt(number: int, data: Mapping[str, Any]) -> Row | str:
    prompt, completion = data.get("prompt"), data.get("completion")
    # TRL also writes both as lists of messages; the answer is then the only message of the completion.
    if isinstance(completion, list):
        reason = _check_messages(completion)
        if reason is not None or len(completion) != 1:
            return reason or f"completion has {len(completion)} messages, expected 1"
        completion = completion[0]["content"]
    if not _is_filled(completion):
        return "completion is missing, empty or no string"
    if isinstance(prompt, list):
        return _check_messages(prompt) or Row(number, _keep(prompt), completion)
    if not _is_filled(prompt):
        return "prompt is missing, empty or no string"
    return Row(number, _ask(prompt), completion)


def _check_messages(messages: object) -> str | None:
    """Why this is no conversation, or None."""
    if not isinstance(messages, list) or not messages:
        return "messages is empty or no list"
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            return f"message {index} is no object"
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
            return f"message {index} has no string 'role' and 'content'"
    return None


def _ask(text: str) -> tuple[Mapping[str, str], ...]:
    return ({"role": "user", "content": text},)


def _keep(messages: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    return tuple({"role": message["role"], "content": message["content"]} for message in messages)


def _is_filled(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _encodable(row: Row) -> bool:
    texts = [row.completion] + ([row.prompt] if isinstance(row.prompt, str) else [m["content"] for m in row.prompt])
    return not any("\ud800" <= character <= "\udfff" for text in texts for character in text)
