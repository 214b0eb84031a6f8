"""Reads training and evaluation rows from a file and says which lines cannot be used, and why.

Path -> Rows

A row is text, and every line that is no row keeps its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from edgelora.data.records import read_records
from edgelora.data.shapes import read_alpaca, read_sharegpt
from edgelora.errors import DataError
from edgelora_runtime.errors import InputError
from edgelora_runtime.messages import as_text, check_messages, check_tools
from edgelora_runtime.parse_json import show

SHAPES = (
    '{"messages"}, {"prompt", "completion"}, {"text"}, {"text", "label"}, '
    '{"instruction", "output"} or {"conversations"}'
)
TEXT_SUFFIX = ".txt"
_EXPECTED = f", expected {SHAPES}"
_SHOWN = 3  # problems named in a one-line error


def is_text(path: Path) -> bool:
    """Whether a file holds plain text, by its name; anything else holds rows."""
    return path.suffix.lower() == TEXT_SUFFIX


@dataclass(frozen=True)
class Row:
    """One example. ``prompt`` is a conversation for the chat template, or raw text that goes in as it is."""

    line: int  # in the file, from 1
    prompt: tuple[Mapping[str, Any], ...] | str  # messages for the chat template; "" for plain language modelling
    completion: str  # what the model shall answer
    label: bool = False  # the completion is one of a closed set of classes
    tools: tuple[Mapping[str, Any], ...] | None = None  # JSON schemas of functions that the template may offer
    answer: Mapping[str, Any] | None = None  # the whole message, where it holds more than text


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
    """Every row of a file, as ``read_records`` reads it; raises DataError where none is usable, naming problems."""
    rows: list[Row] = []
    problems: list[Problem] = []
    for number, record in read_records(path):
        found = record if isinstance(record, str) else _check_row(number, record)
        if isinstance(found, Row):
            rows.append(found)
        else:
            problems.append(Problem(number, found))
    if not rows:
        told = name_problems(problems).replace(_EXPECTED, "")  # once for all of them
        raise DataError(f"{path} has no usable row: {told or 'it is empty'}; expected {SHAPES}")
    return Rows(tuple(rows), tuple(problems))


def name_problems(problems: Sequence[Problem]) -> str:
    """The first problems in one line, with the number of those left out."""
    shown = "; ".join(f"line {problem.line}: {problem.reason}" for problem in problems[:_SHOWN])
    more = len(problems) - _SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def _check_row(number: int, record: Mapping[str, Any]) -> Row | str:
    found = _parse_row(number, record)
    if isinstance(found, Row) and not _encodable(found):
        return "holds half of a surrogate pair, which is no character"
    return found


def _parse_row(number: int, data: Mapping[str, Any]) -> Row | str:
    if preference := _find_preference(data):
        return preference
    try:
        if "messages" in data:
            return _parse_messages(number, data, data["messages"])
        if "conversations" in data:
            return _parse_messages(number, data, read_sharegpt(data))
        if "completion" in data or "prompt" in data:
            return _parse_prompt(number, data)
        if _is_alpaca(data):
            return _parse_messages(number, data, read_alpaca(data))
    except InputError as error:  # what no conversation may be, in the runtime's words
        return str(error)
    if "text" not in data:
        return f"has the keys {show(sorted(data))}{_EXPECTED}"
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


def _is_alpaca(data: Mapping[str, Any]) -> bool:
    """Alpaca's own file holds all of each row once more as text; a text row may have an instruction of its own."""
    return "instruction" in data and ("output" in data or "text" not in data)


def _find_preference(data: Mapping[str, Any]) -> str | None:
    """Why a row of TRL's preference data sets is none to learn from: what it holds may be a bad answer."""
    found = [key for key in ("chosen", "rejected", "completions") if key in data]
    is_answered = any(key in data for key in ("completion", "messages", "conversations")) or _is_alpaca(data)
    if "label" in data and is_answered:
        found.append("label")
    if not found:
        return None
    return f"holds {', '.join(found)}: a preference row, whose answers are not all to be learned; keep the good ones"


def _parse_messages(number: int, data: Mapping[str, Any], given: Any) -> Row | str:
    messages = check_messages(given)
    answer = messages[-1]
    if answer["role"] != "assistant":
        return f"the last message is of role {show(answer['role'])}, expected 'assistant'"
    if len(messages) == 1:
        return "has no message before the answer"
    return _make_row(number, messages[:-1], answer, data)


def _parse_prompt(number: int, data: Mapping[str, Any]) -> Row | str:
    prompt, completion = data.get("prompt"), data.get("completion")
    # TRL also writes both as lists of messages; the answer is then the only message of the completion.
    if isinstance(completion, list):
        messages = check_messages(completion)
        if len(messages) != 1:
            return f"completion has {len(messages)} messages, expected 1"
        answer = messages[0]
        if answer["role"] != "assistant":
            return f"the completion is of role {show(answer['role'])}, expected 'assistant'"
    elif _is_filled(completion):
        answer = {"role": "assistant", "content": completion}
    else:
        return "completion is missing, empty or no string"
    if isinstance(prompt, list):
        return _make_row(number, check_messages(prompt), answer, data)
    if not _is_filled(prompt):
        return "prompt is missing, empty or no string"
    return _make_row(number, [dict(message) for message in _ask(prompt)], answer, data)


def _make_row(
    number: int, messages: Sequence[dict[str, Any]], answer: dict[str, Any], data: Mapping[str, Any]
) -> Row | str:
    """The row of a conversation and its answer, or the reason why there is none."""
    weights = [message.pop("weight", 1) for message in (*messages, answer)]
    strange = [weight for weight in weights if weight not in (0, 1)]
    if strange:
        return f"weight is {show(strange[0])}, expected 0 or 1"
    if not weights[-1]:
        return "the answer has weight 0, which says not to learn it"
    tools = data.get("tools")
    known = check_tools(tools) if tools is not None else []
    text = as_text(answer.get("content"))
    more = any(answer.get(key) for key in ("tool_calls", "reasoning_content"))
    if not text.strip() and not more:
        return "the answer is empty"
    return Row(number, tuple(messages), text, tools=tuple(known) or None, answer=answer if more else None)


def _ask(text: str) -> tuple[Mapping[str, Any], ...]:
    return ({"role": "user", "content": text},)


def _is_filled(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _encodable(row: Row) -> bool:
    return not any(_has_half(value) for value in (row.completion, row.prompt, row.tools, row.answer))


def _has_half(value: object) -> bool:
    """Whether any text in a JSON value holds half of a surrogate pair."""
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Mapping):
        return any(_has_half(key) or _has_half(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(_has_half(item) for item in value)
