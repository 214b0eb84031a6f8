"""Tool calls in an answer: found in the forms that the templates of the supported architectures teach their models.

text of an answer, tools that were offered -> text without calls, ToolCall

``runtime/conformance/README.md`` says which forms there are, ``calls.json`` beside it what is made of each.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from edgelora_runtime.messages import Tools, check_tools
from edgelora_runtime.parse_json import JsonError, read_value
from edgelora_runtime.stream import StopFilter

_MISTRAL = "[TOOL_CALLS]"
_GEMMA = "<start_function_call>"
_ESCAPE = "<escape>"
_OPENERS = ("<tool_call>", "<|tool_call|>", "<|python_tag|>", _MISTRAL, _GEMMA)
_CLOSERS = ("</tool_call>", "<|/tool_call|>", "<end_function_call>")

MARKS = (*_OPENERS, *_CLOSERS, _ESCAPE, "[ARGS]", "[CALL_ID]")
"""What stands around calls; special tokens of these names are part of an answer's text where tools are given."""

_BLANKS = " \t\r\n"
_BLANK = re.compile(r"[ \t\r\n]*")
_MAYBE_BARE = re.compile(r"[ \t\r\n]*(?:[{\[]|\Z)")
_BETWEEN = re.compile(r"[ \t\r\n]*[;,]?[ \t\r\n]*(?=\{)")
_MISTRAL_NAME = re.compile(r"[ \t\r\n]*([A-Za-z0-9_.-]+)(?:\[CALL_ID\][A-Za-z0-9_-]*)?(?:\[ARGS\])?[ \t\r\n]*(?=\{)")
_GEMMA_NAME = re.compile(r"[ \t\r\n]*call:([A-Za-z0-9_.-]+)(?=\{)")
_GEMMA_KEY = re.compile(r"[ \t\r\n]*([^:,{}\[\]<]+):")
_GEMMA_WORD = re.compile(r"[ \t\r\n]*([^,{}\[\]<]*)")
_QUOTED_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\[\s\S])*"|[{}\[\]"]')
_DEEPEST = 100
_ID_LENGTH = 9


@dataclass(frozen=True)
class ToolCall:
    """What the model wants to have called. A message of role ``tool`` says by ``id`` what it answers."""

    name: str
    arguments: dict[str, Any]
    id: str = field(compare=False)  # nine letters and digits, which is what Mistral's templates take


_Call = tuple[str, dict[str, Any]]
_Found = tuple[list[_Call], int]  # calls, and where the text goes on behind them


class CallReader:
    """Takes the calls out of an answer as it comes: text that may belong to one is held back until the end."""

    def __init__(self, tools: Tools | str) -> None:
        """``tools`` are those that the prompt offers: calls without marks around them are known by their names."""
        functions = [tool.get("function", tool) for tool in check_tools(tools)]
        self._names = {item.get("name") for item in functions if isinstance(item, dict)}
        self._filter = StopFilter(_OPENERS)
        self._text = ""
        self._n_fed = 0
        self._n_shown = 0

    def push(self, text: str) -> str:
        """What is certainly no part of a call."""
        self._text += text
        if _MAYBE_BARE.match(self._text):  # a call may stand there without any mark
            return ""
        shown = self._filter.push(self._text[self._n_fed :])
        self._n_fed = len(self._text)
        self._n_shown += len(shown)
        return shown

    def end(self) -> tuple[str, tuple[ToolCall, ...]]:
        """The rest of the text, and the calls. What looks like a call and is none is text."""
        text, calls = _read_calls(self._text[self._n_shown :], () if self._n_shown else self._names)
        return text, tuple(ToolCall(name, arguments, _make_id()) for name, arguments in calls)


def _read_calls(text: str, names: Collection[Any]) -> tuple[str, list[_Call]]:
    bare = _read_json_calls(text, 0)
    if bare is not None and _skip(text, bare[1]) == len(text) and all(name in names for name, _ in bare[0]):
        return "", bare[0]
    calls: list[_Call] = []
    left, place = "", 0
    while place < len(text):
        start, opener = _find_opener(text, place)
        left += text[place:start]
        place = start + len(opener)
        found = _read_after(opener, text, place) if opener else None
        if found is None:
            left += opener
        else:
            calls += found[0]
            place = found[1]
    return "" if calls and not left.strip(_BLANKS) else left, calls


def _find_opener(text: str, place: int) -> tuple[int, str]:
    """The first opener from ``place`` on, or the end of the text and nothing."""
    found = [(start, opener) for opener in _OPENERS if (start := text.find(opener, place)) >= 0]
    return min(found, default=(len(text), ""))


def _read_after(opener: str, text: str, place: int) -> _Found | None:
    if opener == _GEMMA:
        found = _read_gemma_call(text, place)
    else:
        named = _read_mistral_call(text, place) if opener == _MISTRAL else None
        found = named or _read_json_calls(text, place)
    if found is None:
        return None
    calls, end = found
    behind = _skip(text, end)
    closer = next((item for item in _CLOSERS if text.startswith(item, behind)), None)
    return calls, end if closer is None else behind + len(closer)


def _read_json_calls(text: str, place: int) -> _Found | None:
    """An object or a list of ``{name, arguments}``, or objects one after another."""
    calls: list[_Call] = []
    end = _skip(text, place)
    while True:
        json = _read_json(text, end)
        found = None if json is None else _as_calls(json[0])
        if json is None or found is None:
            return None
        calls += found
        end = json[1]
        if (between := _BETWEEN.match(text, end)) is None:
            return calls, end
        end = between.end()


def _read_mistral_call(text: str, place: int) -> _Found | None:
    """``name[ARGS]{...}``, in some versions with an id between the two."""
    name = _MISTRAL_NAME.match(text, place)
    json = None if name is None else _read_json(text, name.end())
    if name is None or json is None or not isinstance(json[0], dict):
        return None
    return [(name[1], json[0])], json[1]


def _read_gemma_call(text: str, place: int) -> _Found | None:
    """``call:name{key:<escape>text<escape>,count:3}``."""
    name = _GEMMA_NAME.match(text, place)
    found = None if name is None else _read_gemma(text, name.end(), 0)
    if name is None or found is None or not isinstance(found[0], dict):
        return None
    return [(name[1], found[0])], found[1]


def _read_gemma(text: str, place: int, depth: int) -> tuple[Any, int] | None:
    """A value as FunctionGemma writes it: text between marks, words, objects with plain keys, lists."""
    if depth > _DEEPEST:
        return None
    start = _skip(text, place)
    if text.startswith(_ESCAPE, start):
        end = text.find(_ESCAPE, start + len(_ESCAPE))
        return None if end < 0 else (text[start + len(_ESCAPE) : end], end + len(_ESCAPE))
    opening = text[start : start + 1]
    if opening not in ("{", "["):
        word = _GEMMA_WORD.match(text, start)
        return None if word is None or not word[1] else (_as_word(word[1]), word.end())
    closing = "}" if opening == "{" else "]"
    items: list[tuple[str, Any]] = []
    place = _skip(text, start + 1)
    while not text.startswith(closing, place):
        key = ""
        if opening == "{":
            if (found := _GEMMA_KEY.match(text, place)) is None:
                return None
            key, place = found[1], found.end()
        if (item := _read_gemma(text, place, depth + 1)) is None:
            return None
        items.append((key, item[0]))
        place = _skip(text, item[1])
        if text.startswith(",", place):
            place = _skip(text, place + 1)
        elif not text.startswith(closing, place):
            return None
    return dict(items) if opening == "{" else [item for _, item in items], place + 1


def _as_word(word: str) -> Any:
    """A word without marks: what JSON reads of it, else itself."""
    try:
        return read_value(word.rstrip(_BLANKS))
    except JsonError:
        return word


def _as_calls(value: Any) -> list[_Call] | None:
    """The calls that a value of JSON stands for, None where it stands for none."""
    calls: list[_Call] = []
    for item in value if isinstance(value, list) else [value]:
        call = item["function"] if isinstance(item, dict) and isinstance(item.get("function"), dict) else item
        if not isinstance(call, dict) or not isinstance(name := call.get("name"), str) or not name:
            return None
        given: Any = next((call[key] for key in ("arguments", "parameters") if call.get(key) is not None), {})
        if isinstance(given, str):
            try:
                given = read_value(given)
            except JsonError:
                return None
        if not isinstance(given, dict):
            return None
        calls.append((name, given))
    return calls or None


def _read_json(text: str, place: int) -> tuple[Any, int] | None:
    """The object or list of JSON that begins at ``place``."""
    if text[place : place + 1] not in ("{", "["):
        return None
    depth = 0
    for found in _QUOTED_OR_BRACKET.finditer(text, place):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(found[0], 0)
        if depth > 0:
            continue
        try:
            return read_value(text[place : found.end()]), found.end()
        except JsonError:
            return None
    return None


def _skip(text: str, place: int) -> int:
    """The first place from ``place`` on that is not blank."""
    found = _BLANK.match(text, place)
    return place if found is None else found.end()


def _make_id() -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(_ID_LENGTH))
