"""How well answers match what was expected: texts, JSON, labels, tags, spans, and what a search finds.

expected, found -> a share from 0 to 1
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from edgelora.values import FloatArray

OUTSIDE = "O"  # the tag of a word that belongs to no span


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


def label_f1(expected: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> float:
    """``macro_f1`` where a text may have several labels, or none: the mean over every label expected or found."""
    labels = sorted({label for some in (*expected, *found) for label in some})
    hits = Counter(label for a, b in zip(expected, found, strict=True) for label in {*a} & {*b})
    wanted = Counter(label for some in expected for label in {*some})
    given = Counter(label for some in found for label in {*some})
    return sum(_f1(hits[label], wanted[label], given[label]) for label in labels) / len(labels) if labels else 0.0


def token_f1(expected: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> float:
    """Micro F1 over the tags of words, those that are outside of everything (``O``) left out."""
    pairs = [pair for a, b in zip(expected, found, strict=True) for pair in zip(a, b, strict=True)]
    correct = sum(a == b != OUTSIDE for a, b in pairs)
    return _f1(correct, sum(a != OUTSIDE for a, _ in pairs), sum(b != OUTSIDE for _, b in pairs))


def entity_f1(expected: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> float:
    """Micro F1 over whole spans: kind, begin and end must be right. Tags as docs/format.md reads them."""
    correct = wanted = given = 0
    for a, b in zip(expected, found, strict=True):
        truth, answer = set(spans_of(a)), set(spans_of(b))
        correct += len(truth & answer)
        wanted += len(truth)
        given += len(answer)
    return _f1(correct, wanted, given)


def spans_of(tags: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """Kind, first word and the word behind the last, of every span that ``tags`` name."""
    spans: list[tuple[str, int, int]] = []
    is_open = False
    for index, tag in enumerate(tags):
        prefix, kind = (tag[:1], tag[2:]) if tag[:2] in ("B-", "I-") and len(tag) > 2 else ("", tag)
        if kind == OUTSIDE and not prefix:
            is_open = False
        elif is_open and prefix != "B" and spans[-1][0] == kind:
            spans[-1] = (kind, spans[-1][1], index + 1)
        else:
            spans.append((kind, index, index + 1))
            is_open = True
    return tuple(spans)


def recall_at(count: int, anchors: FloatArray, texts: FloatArray, owners: Sequence[int]) -> float:
    """Share of anchors (n, size) whose own text is among the ``count`` nearest of ``texts`` (m, size), by cosine.

    ``owners`` is the row of each anchor's own text. Texts that are exactly as near as it do not push it out.
    """
    if not len(anchors):
        return 0.0
    near, far = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (anchors, texts))
    scores = near.astype(np.float64) @ far.astype(np.float64).T
    own = scores[np.arange(len(owners)), list(owners)]
    better = (scores > own[:, None] + 1e-9).sum(axis=1)
    return float(np.mean(better < count))


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
