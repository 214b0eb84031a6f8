"""Regular expressions in the part that every runtime reads alike, as forms.

a regular expression -> Node

``docs/format.md`` ("Forms") names the part; the rest is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgelora_runtime.form_nodes import EMPTY, LARGEST, Chain, Choice, Letters, Node, Ranges, Repeat, letters

MOST = 1000  # of a repetition with an end: the libraries write each time out
_LONGEST = 8192
_DEEPEST = 32
_DIGITS: Ranges = ((48, 57),)
_WORDS: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_BLANKS: Ranges = ((9, 13), (32, 32))
_CLASSES = {"d": _DIGITS, "w": _WORDS, "s": _BLANKS}
_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11}
_HEX_DIGITS = {"x": 2, "u": 4}
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ "
_META = "\\^$.|?*+()[]{}"


class RegexError(Exception):
    """What a regular expression has that is not read, or wrong; a sentence without its subject."""


@dataclass(frozen=True)
class Alternative:
    """One branch of the outermost choice, and whether it is held to the start and the end of the text."""

    node: Node
    is_start: bool
    is_end: bool


def parse_regex(pattern: str) -> list[Alternative]:
    """The branches of ``pattern``; raises RegexError naming what is outside of the part that is read."""
    if len(pattern) > _LONGEST:
        raise RegexError(f"has {len(pattern)} characters, at most {_LONGEST} are read")
    return _Parser(pattern).parse()


def whole_text(pattern: str) -> Node:
    """A text that ``pattern`` matches from its start to its end."""
    return _join([branch.node for branch in parse_regex(pattern)])


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._place = 0
        self._depth = 0

    def parse(self) -> list[Alternative]:
        branches = [self._outer_branch()]
        while self._take("|"):
            branches.append(self._outer_branch())
        if self._place < len(self._pattern):
            raise RegexError(f"has {self._pattern[self._place]!r} at {self._place} without its opening")
        return branches

    def _outer_branch(self) -> Alternative:
        is_start = self._take("^")
        node = self._branch()
        is_end = self._take("$")
        return Alternative(node, is_start, is_end)

    def _branch(self) -> Node:
        items: list[Node] = []
        while (letter := self._peek()) not in ("", "|", ")", "$"):
            if letter == "^":
                raise RegexError(f"has ^ at {self._place}, which is read at the start alone")
            items.append(self._quantified())
        if letter == "$" and (self._depth or self._pattern[self._place + 1 : self._place + 2] not in ("", "|")):
            raise RegexError(f"has $ at {self._place}, which is read at the end alone")
        return items[0] if len(items) == 1 else Chain(tuple(items))

    def _quantified(self) -> Node:
        item = self._atom()
        while (found := self._quantifier()) is not None:
            least, most = found
            self._take("?")  # a lazy repetition matches the same texts
            if item != EMPTY:
                item = EMPTY if most == 0 else Repeat(item, least, most)
        return item

    def _quantifier(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if (letter := self._peek()) in simple and letter:
            self._place += 1
            return simple[letter]
        if not self._take("{"):
            return None
        end = self._pattern.find("}", self._place)
        first, comma, last = self._pattern[self._place : end].partition(",") if end >= 0 else ("", "", "")
        numbers = [number for number in (first, last) if number]
        if not first or not all(number.isascii() and number.isdigit() for number in numbers):
            raise RegexError(
                f"has {{ at {self._place - 1} that is no {{m}}, {{m,}} or {{m,n}}; write \\{{ for the sign"
            )
        self._place = end + 1
        least = int(first)
        most = (int(last) if last else None) if comma else least
        if max(least, most or 0) > MOST or (most is not None and most < least):
            raise RegexError(f"repeats {{{first}{comma}{last}}}, expected rising numbers up to {MOST}")
        return least, most

    def _atom(self) -> Node:
        start = self._place
        letter = self._peek()
        self._place += 1
        if letter == "(":
            return self._group(start)
        if letter == "[":
            return self._set(start)
        if letter == ".":
            return letters((10, 10), (13, 13), outside=True)
        if letter == "\\":
            ranges, is_outside = self._escape(start)
            return letters(*ranges, outside=is_outside)
        if letter in _META:
            raise RegexError(
                f"has {letter!r} at {start}, which stands for nothing there; write \\{letter} for the sign"
            )
        if not (node := letters((ord(letter), ord(letter)))).ranges:
            raise RegexError(f"has {letter!r} at {start}, which no text holds")
        return node

    def _group(self, start: int) -> Node:
        if self._take("?") and not self._take(":"):
            raise RegexError(f"has {self._pattern[start : start + 4]!r} at {start}; groups are ( ) or (?: ) alone")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RegexError(f"has groups {self._depth} deep, at most {_DEEPEST} are read")
        branches = [self._branch()]
        while self._take("|"):
            branches.append(self._branch())
        if not self._take(")"):
            raise RegexError(f"has ( at {start} without its )")
        self._depth -= 1
        return _join(branches)

    def _set(self, start: int) -> Node:
        is_outside = self._take("^")
        ranges: list[tuple[int, int]] = []
        while self._peek() != "]":
            first = self._set_item(start)
            if len(first) == 1 and first[0][0] == first[0][1] and self._peek() == "-" and self._peek(1) != "]":
                self._place += 1
                last = self._set_item(start)
                if len(last) != 1 or last[0][0] != last[0][1] or last[0][0] < first[0][0]:
                    raise RegexError(f"has a range in [ at {start} that does not rise from letter to letter")
                first = ((first[0][0], last[0][0]),)
            ranges += first
        self._place += 1
        node = letters(*ranges, outside=is_outside)
        if not node.ranges:
            raise RegexError(f"has [ at {start} that no character fits")
        return node

    def _set_item(self, start: int) -> Ranges:
        place, letter = self._place, self._peek()
        if not letter:
            raise RegexError(f"has [ at {start} without its ]")
        self._place += 1
        if letter == "[":
            raise RegexError(f"has [ in [ at {start}; write \\[ for the sign")
        if letter != "\\":
            return ((ord(letter), ord(letter)),)
        ranges, is_outside = self._escape(place)
        return letters(*ranges, outside=True).ranges if is_outside else ranges

    def _escape(self, start: int) -> tuple[Ranges, bool]:
        """The characters of what follows a backslash, and whether all others are meant."""
        letter = self._peek()
        self._place += 1
        if letter.lower() in _CLASSES and letter:
            return _CLASSES[letter.lower()], letter.isupper()
        code = _CONTROLS.get(letter)
        if letter in _HEX_DIGITS:
            digits = self._pattern[self._place : self._place + _HEX_DIGITS[letter]]
            self._place += len(digits)
            if len(digits) == _HEX_DIGITS[letter] and all(digit in "0123456789abcdefABCDEF" for digit in digits):
                code = int(digits, 16)
        elif letter and letter in _PUNCTUATION:
            code = ord(letter)
        if code is None or not letters((code, code)).ranges:
            raise RegexError(f"has {self._pattern[start : start + 2]!r} at {start}, which is not read")
        return ((code, code),), False

    def _peek(self, ahead: int = 0) -> str:
        return self._pattern[self._place + ahead : self._place + ahead + 1]

    def _take(self, letter: str) -> bool:
        is_there = self._peek() == letter
        self._place += is_there
        return is_there


def inside_json(node: Node) -> Node:
    """The texts of ``node`` as a JSON string writes them: quotes, backslashes and control characters escaped."""
    return map_letters(node, _escaped)


def map_letters(node: Node, change: Callable[[Letters], Node]) -> Node:
    """``node`` with every character replaced."""
    match node:
        case Letters():
            return change(node)
        case Chain(items):
            return Chain(tuple(map_letters(item, change) for item in items))
        case Choice(items):
            return Choice(tuple(map_letters(item, change) for item in items))
        case Repeat(item, least, most):
            return Repeat(map_letters(item, change), least, most)
    raise ValueError("a regular expression has no rules")


_SHORT = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: "\\"}


def _escaped(node: Letters) -> Node:
    plain: list[tuple[int, int]] = []
    for first, last in node.ranges:
        for low, high in ((32, 33), (35, 91), (93, LARGEST)):
            if max(first, low) <= min(last, high):
                plain.append((max(first, low), min(last, high)))
    found: list[Node] = [Letters(tuple(plain))] if plain else []
    for code in (*range(1, 32), 34, 92):
        if any(first <= code <= last for first, last in node.ranges):
            written = f"\\{_SHORT[code]}" if code in _SHORT else f"\\u{code:04x}"
            found.append(Chain(tuple(letters((ord(letter), ord(letter))) for letter in written)))
    return found[0] if len(found) == 1 else Choice(tuple(found))


def _join(branches: list[Node]) -> Node:
    return branches[0] if len(branches) == 1 else Choice(tuple(branches))
