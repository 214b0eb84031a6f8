"""How well answers match what was expected: exact match, JSON validity, field F1, accuracy, macro F1.

expected texts, found texts -> a share from 0 to 1
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence


def exact_match(expected: Sequence[str], found: Sequence[str]) -> float:
    """Share of answers equal to the expected text, white space around both left out."""
    return _share([a.strip() == b.strip() for a, b in zip(expected, found, strict=True)])


def is_json(text: str) -> bool:
    """Whether a text is a JSON object or array; a bare number or string is not counted as JSON."""
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def json_valid(found: Sequence[str]) -> float:
    """Share of answers that are a JSON object or array."""
    return _share([is_json(text) for text in found])


def field_f1(expected: Sequence[str], found: Sequence[str]) -> float:
    """Micro F1 over the (path, value) pairs of JSON answers; an answer that is no JSON has no pairs.

    Array items share the path of their array, so order does not count; a repeated pair counts as often as it occurs.
    """
    correct = wanted = given = 0
    for a, b in zip(expected, found, strict=True):
        truth, answer = _pairs(a), _pairs(b)
        correct += (truth & answer).total()
        wanted += truth.total()
        given += answer.total()
    return _f1(correct, wanted, given)


def accuracy(expected: Sequence[str], found: Sequence[str]) -> float:
    """Share of labels that are right."""
    return _share([a == b for a, b in zip(expected, found, strict=True)])


def macro_f1(expected: Sequence[str], found: Sequence[str]) -> float:
    """Mean over the F1 of every label that was expected or found."""
    labels = sorted({*expected, *found})
    hits = Counter(a for a, b in zip(expected, found, strict=True) if a == b)
    wanted, given = Counter(expected), Counter(found)
    return sum(_f1(hits[label], wanted[label], given[label]) for label in labels) / len(labels) if labels else 0.0


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right) if right else 0.0


def _f1(correct: int, wanted: int, given: int) -> float:
    return 2 * correct / (wanted + given) if wanted + given else 0.0


def _pairs(text: str) -> Counter[tuple[str, ...]]:
    return Counter(_flatten(json.loads(text), ())) if is_json(text) else Counter()


def _flatten(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, (*path, f".{key}"))
    elif isinstance(value, list) and value:
        for item in value:
            yield from _flatten(item, (*path, "[]"))
    else:
        # The JSON spelling keeps "1" apart from 1, and true from 1.
        yield (*path, json.dumps(value.strip() if isinstance(value, str) else value))
