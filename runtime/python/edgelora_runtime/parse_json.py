"""Parses JSON that somebody else wrote: every reader of a file comes through here.

bytes of JSON -> value, or EdgeLoraError

``docs/format.md`` ("What a reader refuses") says what is refused and why.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgelora_runtime.errors import EdgeLoraError

DEEPEST = 100  # lists and objects inside one another: what is deeper ends the recursion of some later reader
LONGEST = 64 << 20  # bytes; the longest file of the kind that people have is a tokenizer.json of 33 MB

_SHOWN = 60  # characters of a value in a message
_LONGEST_REASON = 250
_ROOM = 320  # characters of a list in a message
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG = b"0" * 300  # digits; float64 ends at 309
_LONGEST_NUMBER = 400  # digits; float64 ends at 309


class JsonError(ValueError):
    """What is wrong with a text that is no JSON, in a few words."""


def parse_json(content: bytes | str, where: str, error: type[EdgeLoraError], advice: str, limit: int = LONGEST) -> Any:
    """The value of ``content``; raises ``error`` in one line: ``where``, what is wrong with it, and ``advice``."""
    try:
        return read_value(content, limit)
    except JsonError as problem:
        raise error(f"{where} is not JSON ({problem}); {advice}") from problem


def read_json(path: Path, error: type[EdgeLoraError], advice: str, limit: int = LONGEST) -> Any:
    """The value of a file, which is read no further than its ``limit`` of bytes; raises ``error`` in one line."""
    try:
        with path.open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as problem:
        raise error(f"{path} cannot be read ({problem.strerror or problem}); {advice}") from problem
    return parse_json(content, str(path), error, advice, limit)


def read_value(content: bytes | str, limit: int = LONGEST) -> Any:
    """The value of ``content``; raises JsonError for all that some reader of another language would read otherwise."""
    if len(content) > limit:
        raise JsonError(f"longer than {limit} bytes")
    plain = content if isinstance(content, bytes) else content.encode(errors="replace")
    if isinstance(content, bytes):
        try:
            content = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise JsonError(f"not UTF-8 at byte {error.start}") from error
    try:
        # The parser's own integers are quicker, and most documents have no long number.
        integer = _integer if _LONG in plain.translate(_DIGITS) else None
        data = json.loads(
            content, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=integer
        )
    except JsonError:
        raise
    except json.JSONDecodeError as error:
        raise JsonError(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise JsonError(f"nested more than {DEEPEST} deep") from error
    _check_depth(data)
    if _HALF.search(content):
        _check_characters(data)
    return data


def show(value: object) -> str:
    """A value as a message shows it: in one line, and cut where it is long."""
    if isinstance(value, str | bytes):
        cut = value[:_SHOWN]
        return repr(cut) + ("…" if len(value) > _SHOWN else "")
    if isinstance(value, dict | list | tuple):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)}" if len(value) > 4 else _cut(_flat(value))
    return _cut(repr(value)) if not isinstance(value, int) or abs(value) < 10**40 else "a huge number"


def one_line(error: BaseException, named: bool = True) -> str:
    """What a library raised, in one line of bearable length; it may say anything, at any length."""
    text = " ".join(str(error).split())
    text = "".join(character if character.isprintable() else "?" for character in text[:_LONGEST_REASON])
    return f"{type(error).__name__}: {text}" if named and text else text or type(error).__name__


def join_some(lines: Iterable[str], separator: str = "; ") -> str:
    """As many of ``lines`` as one line of an error has room for, and how many there are more."""
    told: list[str] = []
    left, room = 0, _ROOM
    for line in lines:
        if left or (told and len(line) > room):
            left += 1
        else:
            told.append(line if len(line) <= room else line[:room] + "…")
            room -= len(line) + len(separator)
    return separator.join(told) + (f"{separator}and {left} more" if left else "")


def _flat(value: object) -> str:
    """``repr`` that goes one level deep: what lies deeper may be nested without end."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{show(key)}: {_leaf(item)}" for key, item in value.items()) + "}"
    assert isinstance(value, list | tuple)
    return "[" + ", ".join(_leaf(item) for item in value) + "]"


def _leaf(value: object) -> str:
    return "…" if isinstance(value, dict | list | tuple) else show(value)


def _cut(text: str) -> str:
    return text if len(text) <= 2 * _SHOWN else text[: 2 * _SHOWN] + "…"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonError(f"the key {show(twice)} stands twice in one object")
    return found


def _constant(text: str) -> Any:
    raise JsonError(f"{text} is no number of JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonError(f"the number {show(text)} is beyond float64")
    return value


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or not math.isfinite(float(text)):
        raise JsonError(f"the number {show(text)} is beyond float64")
    return int(text)


def _check_depth(data: Any) -> None:
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(DEEPEST):
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise JsonError(f"nested more than {DEEPEST} deep")


def _check_characters(data: Any) -> None:
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise JsonError("half of a surrogate pair, which is no character") from error
