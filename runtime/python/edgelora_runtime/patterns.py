"""PEFT's patterns for module names, in the part of regular expressions that means the same everywhere.

pattern, module's name -> whether it matches

Python's ``re`` and JavaScript's ``RegExp`` disagree about the rest, and both can take years for a bad pattern; here a
pattern is parsed into the few nodes that ``docs/format.md`` ("Patterns") names, and the ends that it can reach are
followed all at once. Whether a name matches is what ``re`` says of it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from edgelora_runtime.parse_json import show

LONGEST = 8192  # characters of a pattern
DEAREST = 4000  # steps that a pattern may take for each place of a name, a repetition counted as 32 of its body

Ends = frozenset[int]  # places of a name that are reached
_Step = Callable[[str, Ends], Ends]

_QUANTIFIER = re.compile(r"[*+?]|\{([0-9]{1,4})?(,)?([0-9]{1,4})?\}")
_MANY = 32
_DEEPEST = 32  # groups inside one another
_META = frozenset("\\^$.|?*+()[]{}")
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_CLASSES = {"d": frozenset("0123456789"), "w": _WORD}


class PatternError(ValueError):
    """What a pattern has that is outside the part that every runtime reads alike."""


@dataclass(frozen=True)
class _Node:
    """Part of a pattern: where it leads from each place, what that costs, and whether it can be repeated."""

    step: _Step
    cost: int = 1
    is_place: bool = False  # it takes no character: ^, $, \\b, a lookahead


def matches_whole(pattern: str, name: str) -> bool:
    """``re.fullmatch(pattern, name)``, PEFT's rule for ``target_modules`` that is a text."""
    return len(name) in parse_pattern(pattern)(name, frozenset([0]))


def matches_ending(pattern: str, name: str) -> bool:
    r"""``re.match(rf"(.*\.)?({pattern})$", name)``, PEFT's rule for the keys of ``rank_pattern``."""
    if not _is_name(pattern):
        starts = frozenset([0, *(place + 1 for place, character in enumerate(name) if character == ".")])
        return len(name) in parse_pattern(pattern)(name, starts)
    start = len(name) - len(pattern)
    if start < 0 or (start and name[start - 1] != "."):
        return False
    return name.endswith(pattern) or all(
        wanted in (".", found) for wanted, found in zip(pattern, name[start:], strict=True)
    )


@functools.lru_cache(maxsize=4096)
def _is_name(pattern: str) -> bool:
    """The name of a module, of which an adapter may have hundreds: only its dots stand for something else."""
    return _META.isdisjoint(pattern.replace(".", ""))


@functools.lru_cache(maxsize=4096)
def parse_pattern(pattern: str) -> _Step:
    """Where ``pattern`` leads in a name from a set of places; raises PatternError naming the construct."""
    if len(pattern) > LONGEST:
        raise PatternError(f"it has {len(pattern)} characters, at most {LONGEST} are read")
    node = _Parser(pattern).parse()
    if node.cost > DEAREST:
        raise PatternError("it repeats too much; write the names of the modules")
    return node.step


class _Parser:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0
        self.depth = 0

    def parse(self) -> _Node:
        node = self.alternatives()
        if self.at < len(self.text):
            raise PatternError("a ')' closes no group")
        return node

    def peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def alternatives(self) -> _Node:
        branches = [self.sequence()]
        while self.peek("|"):
            self.at += 1
            branches.append(self.sequence())
        if len(branches) == 1:
            return branches[0]
        steps = [branch.step for branch in branches]
        return _Node(lambda name, ends: frozenset().union(*(step(name, ends) for step in steps)), _total(branches))

    def sequence(self) -> _Node:
        nodes: list[_Node] = []
        literal = ""
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            character = self.literal()
            if character is not None and not _QUANTIFIER.match(self.text, self.at):
                literal += character
                continue
            if literal:
                nodes.append(_literal(literal))
                literal = ""
            atom = self.atom() if character is None else _literal(character)
            nodes.append(self.quantified(atom))
        if literal:
            nodes.append(_literal(literal))
        if len(nodes) == 1:
            return nodes[0]
        steps = [node.step for node in nodes]

        def step(name: str, ends: Ends) -> Ends:
            for item in steps:
                if not ends:
                    break
                ends = item(name, ends)
            return ends

        return _Node(step, _total(nodes))

    def literal(self) -> str | None:
        """A character that stands for itself, or None where something else begins."""
        character = self.text[self.at]
        if character not in _META:
            self.at += 1
            return character
        if character == "\\" and self.at + 1 < len(self.text) and self.text[self.at + 1] in _PUNCTUATION:
            self.at += 2
            return self.text[self.at - 1]
        return None

    def atom(self) -> _Node:
        character = self.text[self.at]
        if character == "(":
            return self.group()
        if character == "[":
            return self.character_class()
        if character == "\\":
            letter = self.text[self.at + 1 : self.at + 2]
            if letter == "b":
                self.at += 2
                return _place(_is_boundary)
            return _one(self.escaped_class())
        self.at += 1
        if character == ".":
            return _one(lambda _: True)
        if character == "^":
            return _place(lambda _, place: place == 0)
        if character == "$":
            return _place(lambda name, place: place == len(name))
        if character in "*+?":
            raise PatternError(f"{show(character)} repeats nothing")
        raise PatternError(f"{show(character)} stands alone; write it as \\{character}")

    def escaped_class(self) -> Callable[[str], bool]:
        letter = self.text[self.at + 1 : self.at + 2]
        if letter not in _CLASSES:
            what = show("\\" + letter) if letter else "a '\\' at the end"
            raise PatternError(f"{what} is not read; write the names of the modules")
        self.at += 2
        return _CLASSES[letter].__contains__

    def group(self) -> _Node:
        for start, is_wanted in (("(?=", True), ("(?!", False)):
            if self.peek(start):
                self.at += len(start)
                body = self.inside()
                return _Node(_looking(body.step, is_wanted), body.cost * _MANY, is_place=True)
        if self.peek("(?") and not self.peek("(?:"):
            raise PatternError(
                f"{show(self.text[self.at : self.at + 4])} is not read; groups are (…), (?:…), (?=…), (?!…)"
            )
        self.at += 3 if self.peek("(?:") else 1
        body = self.inside()
        return _Node(body.step, body.cost)

    def inside(self) -> _Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise PatternError(f"groups are nested more than {_DEEPEST} deep")
        body = self.alternatives()
        if not self.peek(")"):
            raise PatternError("a '(' is not closed")
        self.at += 1
        self.depth -= 1
        return body

    def character_class(self) -> _Node:
        self.at += 1
        is_negated = self.peek("^")
        self.at += is_negated
        first = self.at
        tests: list[Callable[[str], bool]] = []
        while not self.peek("]") or self.at == first:
            if self.at >= len(self.text):
                raise PatternError("a '[' is not closed")
            low = self.class_member(first)
            if not isinstance(low, str):
                tests.append(low)
                continue
            high = low
            if self.peek("-") and not self.peek("-]"):
                self.at += 1
                end = self.class_member(first)
                if not isinstance(end, str) or end < low:
                    raise PatternError(f"the range after {show(low)} in a [ ] goes nowhere")
                high = end
            tests.append(functools.partial(_is_between, low, high))
        self.at += 1
        return _one(lambda character: any(test(character) for test in tests) != is_negated)

    def class_member(self, first: int) -> str | Callable[[str], bool]:
        character = self.text[self.at : self.at + 1]
        if character == "\\":
            literal = self.literal()
            return self.escaped_class() if literal is None else literal
        is_edge = character == "-" and (self.at == first or self.peek("-]"))
        if not character or (character in "[]^-&~|" and not is_edge):
            raise PatternError(f"{show(character)} stands alone in a [ ]; write it as \\{character}")
        self.at += 1
        return character

    def quantified(self, atom: _Node) -> _Node:
        found = _QUANTIFIER.match(self.text, self.at)
        if found is None:
            if self.peek("{"):
                raise PatternError("'{' stands alone; write it as \\{")
            return atom
        if atom.is_place:
            raise PatternError(f"{show(found[0])} repeats what takes no character")
        least, most = _bounds(found)
        self.at = found.end()
        if self.peek("+"):
            raise PatternError(f"{show(found[0] + '+')} is possessive, which is not read")
        self.at += self.peek("?")  # lazy or not, the names that match are the same
        if _QUANTIFIER.match(self.text, self.at):
            raise PatternError(f"{show(found[0])} is repeated itself")
        if (least, most) == (0, 1):
            return _Node(lambda name, ends: ends | atom.step(name, ends), atom.cost + 1)
        times = max(least, _MANY if most is None else most)
        return _Node(functools.partial(_repeat, atom.step, least, most), atom.cost * times + 1)


def _bounds(found: re.Match[str]) -> tuple[int, int | None]:
    if found[0] in ("*", "+", "?"):
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[found[0]]
    low, comma, high = found[1], found[2], found[3]
    if low is None and high is None:
        raise PatternError(f"{show(found[0])} has no number; write it as \\{found[0]}")
    least = int(low or 0)
    most = (None if high is None else int(high)) if comma else least
    if most is not None and most < least:
        raise PatternError(f"{show(found[0])} ends before it begins")
    return least, most


def _repeat(step: _Step, least: int, most: int | None, name: str, ends: Ends) -> Ends:
    for _ in range(least):
        ends = step(name, ends)
    reached, new, count = ends, ends, least
    while new and (most is None or count < most):
        new = step(name, new) - reached
        reached |= new
        count += 1
    return reached


def _looking(step: _Step, is_wanted: bool) -> _Step:
    return lambda name, ends: frozenset(end for end in ends if bool(step(name, frozenset([end]))) == is_wanted)


def _literal(text: str) -> _Node:
    size = len(text)
    return _Node(lambda name, ends: frozenset(end + size for end in ends if name.startswith(text, end)))


def _one(is_in: Callable[[str], bool]) -> _Node:
    return _Node(lambda name, ends: frozenset(end + 1 for end in ends if end < len(name) and is_in(name[end])))


def _place(is_there: Callable[[str, int], bool]) -> _Node:
    return _Node(lambda name, ends: frozenset(end for end in ends if is_there(name, end)), is_place=True)


def _is_boundary(name: str, place: int) -> bool:
    before, after = name[place - 1 : place] if place else "", name[place : place + 1]
    return (before in _WORD) != (after in _WORD)


def _is_between(low: str, high: str, character: str) -> bool:
    return low <= character <= high


def _total(nodes: list[_Node]) -> int:
    return 1 + sum(node.cost for node in nodes)
