"""What a form is made of: letters, sequences, choices, repetitions and rules, and how the mask's library reads them.

nodes -> the library's text
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Ranges = tuple[tuple[int, int], ...]  # first and last code point of each, rising, apart

LARGEST = 0x10FFFF
# Else a stretch without a choice would leave the one token of the library's own encoding.
_EVERY_TOKEN = '%llguidance {"no_forcing": true}\n'
_HALVES = (0xD800, 0xDFFF)  # halves of surrogate pairs, which no text holds


@dataclass(frozen=True)
class Letters:
    """One character out of ``ranges``."""

    ranges: Ranges


@dataclass(frozen=True)
class Chain:
    """One after another; none of them is the empty text."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of several."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """``item`` from ``least`` to ``most`` times; None is without end."""

    item: Node
    least: int
    most: int | None


@dataclass(frozen=True)
class Word:
    """What the library reads in one piece: it holds no rule, and no longer word may follow where a shorter one fits."""

    item: Node


@dataclass(frozen=True)
class Rule:
    """The rule of that name."""

    name: str


Node = Letters | Chain | Choice | Repeat | Word | Rule

EMPTY = Chain(())


def letters(*ranges: tuple[int, int], outside: bool = False) -> Letters:
    """The characters of ``ranges``, or all others; never NUL, nor a half of a pair."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted([*ranges, (0, 0), _HALVES] if outside else ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return Letters(_invert(merged) if outside else cut(tuple(merged), (1, LARGEST), _HALVES))


def text(content: str) -> Chain:
    """Exactly these characters."""
    return Chain(tuple(Letters(((ord(letter), ord(letter)),)) for letter in content))


def optional(item: Node) -> Repeat:
    """``item`` or nothing."""
    return Repeat(item, 0, 1)


def cut(ranges: Ranges, within: tuple[int, int], without: tuple[int, int] | None = None) -> Ranges:
    """The part of ``ranges`` that lies in one range and not in another."""
    low, high = within
    found = []
    for first, last in ranges:
        pieces = [(first, last)]
        if without is not None:
            pieces = [(first, min(last, without[0] - 1)), (max(first, without[1] + 1), last)]
            if last < without[0] or first > without[1]:
                pieces = [(first, last)]
        found += [(max(one, low), min(other, high)) for one, other in pieces]
    return tuple((first, last) for first, last in found if first <= last)


def write_rules(rules: Mapping[str, Node]) -> str:
    """``rules``, the first of which is the whole form, in the Lark dialect of llguidance."""
    lines = [
        f"{'start' if index == 0 else name}: {_rule_side(node)}\n" for index, (name, node) in enumerate(rules.items())
    ]
    return "".join([_EVERY_TOKEN, *lines])


def _invert(merged: Iterable[tuple[int, int]]) -> Ranges:
    found, start = [], 0
    for first, last in merged:
        if first > start:
            found.append((start, first - 1))
        start = last + 1
    if start <= LARGEST:
        found.append((start, LARGEST))
    return tuple(found)


def _rule_side(node: Node) -> str:
    match node:
        case Word(item):
            return f"/{_pattern(item)}/"
        case Rule(name):
            return name
        case Chain(items):
            return " ".join(map(_rule_side, items)) or '""'
        case Choice(items):
            return f"({' | '.join(map(_rule_side, items))})"
        case Repeat(item, least, most):
            return f"({_rule_side(item)}){_times(least, most)}"
        case Letters():
            return f"/{_pattern(node)}/"


def _pattern(node: Node) -> str:
    match node:
        case Letters(ranges):
            if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
                return _letter(ranges[0][0])
            return f"[{''.join(_letter(one) + '-' + _letter(other) for one, other in ranges)}]"
        case Chain(items):
            return "".join(map(_pattern, items))
        case Choice(items):
            return f"(?:{'|'.join(map(_pattern, items))})"
        case Repeat(item, least, most):
            return f"(?:{_pattern(item)}){_times(least, most)}"
        case Word(item):
            return _pattern(item)
        case Rule(name):
            raise ValueError(f"rule {name} stands in a word")


def _times(least: int, most: int | None) -> str:
    marks = {(0, 1): "?", (0, None): "*", (1, None): "+"}
    return marks.get((least, most)) or f"{{{least},{'' if most is None else most}}}"


def _letter(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\x{{{code:x}}}"
