"""JSON texts as forms: strings, numbers, lists and objects, and values that are given.

JSON values, parts of a schema -> Node
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgelora_runtime.errors import InputError
from edgelora_runtime.form_nodes import Chain, Node, Repeat, Word, optional, text
from edgelora_runtime.form_regex import whole_text

_BLANK = optional(text(" "))
COMMA, COLON = (Word(Chain((*text(sign).items, _BLANK))) for sign in (",", ":"))
INTEGER = Word(whole_text(r"-?(0|[1-9][0-9]*)"))
NUMBER = Word(whole_text(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"))
CHARACTER = whole_text(
    r'[^"\\\x01-\x1f]|\\["\\/bfnrt]|\\u([0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


def listed(opening: str, item: Node, least: int, most: int | None, closing: str) -> Node:
    """``item`` between brackets from ``least`` to ``most`` times, commas between."""
    inside: Node = Chain(())
    if most != 0:
        more = Repeat(Chain((COMMA, item)), max(0, least - 1), None if most is None else most - 1)
        filled = item if most == 1 else Chain((item, more))
        inside = filled if least else optional(filled)
    return Chain((Word(text(opening)), inside, Word(text(closing))))


def bracket(opening: str, items: Sequence[Node], closing: str) -> Node:
    """Just these items between brackets, commas between."""
    listed = [part for item in items for part in (COMMA, item)][1:]
    return Chain((Word(text(opening)), *listed, Word(text(closing))))


def quoted(inside: Node) -> Word:
    """``inside`` between quotes."""
    return Word(Chain((*text('"').items, inside, *text('"').items)))


def string(least: int = 0, most: int | None = None) -> Word:
    """Any string of so many characters."""
    return quoted(Repeat(CHARACTER, least, most))


def string_word(value: str, where: str) -> Word:
    """Exactly this string."""
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
        raise wrong(where, f"has {show(value)}, which holds half of a character")
    return Word(text(json.dumps(value, ensure_ascii=False)))


def constant(value: Any, where: str) -> Node:
    """Exactly this value, blanks between its parts or not."""
    if isinstance(value, (list, tuple)):
        return bracket("[", [constant(item, where) for item in value], "]")
    if isinstance(value, Mapping):
        check_order(value, where)
        pairs = [Chain((string_word(str(key), where), COLON, constant(item, where))) for key, item in value.items()]
        return bracket("{", pairs, "}")
    if isinstance(value, str):
        return string_word(value, where)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    written = json.dumps(value)
    if isinstance(value, (int, float)) and not (value == 0 or 1e-4 <= abs(value) < 1e15):
        raise wrong(where, f"has {written}, expected numbers that are written alike everywhere: 1e-4 up to 1e15")
    return Word(text(written))


def check_order(fields: Mapping[str, Any], where: str) -> None:
    """Fields are written in their order, which JavaScript does not keep for names that are whole numbers."""
    if len(fields) > 1 and (odd := next((name for name in fields if re.fullmatch("0|[1-9][0-9]*", str(name))), None)):
        raise wrong(where, f"has {show(odd)}, whose place among others is not kept everywhere; give another name")


def wrong(where: str, what: str) -> InputError:
    """The error for a place in the schema."""
    return InputError(f"schema: {where} {what}")


def show(value: Any) -> str:
    """A value as JSON, cut where it is long."""
    shown = json.dumps(value, ensure_ascii=False, default=repr)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."
