"""Answers for tokens, as spans of the text that they were read from.

text, offsets of tokens, labels -> Span

``docs/format.md`` ("Tags") is the definition.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

Offset = tuple[int, int]

_OUTSIDE = "O"
# Where words are written without blanks between them: Han, kana and what belongs to them.
_UNSPACED = ((0x2E80, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``end`` (code points) of a text; ``score`` is the mean of those of its words."""

    start: int
    end: int
    label: str
    score: float
    text: str


@dataclass(frozen=True)
class Tagging:
    """The spans of a text in order, and in how many windows it was read."""

    spans: tuple[Span, ...]
    windows: int = 1


@dataclass(frozen=True)
class Word:
    """Tokens that share one answer, that of the first; characters ``start`` to ``end``."""

    token: int
    start: int
    end: int


def find_words(text: str, offsets: Sequence[Offset]) -> list[Word]:
    """The words of a text by the offsets of its tokens.

    A token goes on with the word before it where it begins inside of it, or where it and the character before it are
    letters, marks or digits of a script with blanks between words. Tokens of white space, or of nothing, have no word.
    """
    words: list[Word] = []
    for token, (start, end) in enumerate(offsets):
        covered = text[start:end]
        start += len(covered) - len(covered.lstrip())
        end -= len(covered) - len(covered.rstrip())
        if start >= end:
            continue
        last = words[-1] if words else None
        if last is not None and (start < last.end or _is_joined(text, start)):
            words[-1] = Word(last.token, last.start, max(last.end, end))
        else:
            words.append(Word(token, start, end))
    return words


def find_spans(text: str, words: Sequence[Word], labels: Sequence[str], scores: Sequence[float]) -> tuple[Span, ...]:
    """Spans of words with a label and a score each."""
    found: list[tuple[str, list[int]]] = []  # kind, words
    is_open = False
    for index, label in enumerate(labels):
        prefix, kind = (label[:1], label[2:]) if label[:2] in ("B-", "I-") and len(label) > 2 else ("", label)
        if kind == _OUTSIDE and not prefix:
            is_open = False
        elif is_open and prefix != "B" and found[-1][0] == kind:
            found[-1][1].append(index)
        else:
            found.append((kind, [index]))
            is_open = True
    spans = []
    for kind, inside in found:
        start, end = words[inside[0]].start, words[inside[-1]].end
        spans.append(Span(start, end, kind, sum(scores[index] for index in inside) / len(inside), text[start:end]))
    return tuple(spans)


def _is_joined(text: str, place: int) -> bool:
    """Whether no word ends before the character at ``place``."""
    if place == 0 or not (_is_of_word(text[place - 1]) and _is_of_word(text[place])):
        return False
    return not any(
        low <= ord(character) <= high for low, high in _UNSPACED for character in text[place - 1 : place + 1]
    )


def _is_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"
