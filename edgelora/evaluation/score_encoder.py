"""How well an artifact of a classifier, tagger or embedder does on labelled rows.

EncoderModel, LabelledRow, TaggedRow, PairRow -> figures
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np

from edgelora.data.labelled import AnyRow, LabelledRow, PairRow, TaggedRow
from edgelora.errors import DataError
from edgelora.evaluation.metrics import accuracy, entity_f1, label_f1, macro_f1, recall_at, spans_of, token_f1
from edgelora.progress import Count
from edgelora_runtime import Classification, EncoderModel, Tagging
from edgelora_runtime.manifest import MULTI_LABEL, REGRESSION

Figures = dict[str, float | int | None]
_Row = TypeVar("_Row")

_BATCH = 256  # rows between two steps of a bar
_LEAST = 1e-300  # a probability; its logarithm is finite


def score_rows(model: EncoderModel, rows: Sequence[AnyRow], adapter: str, step: Count) -> Figures:
    """Every figure of the rows' kind, each a share from 0 to 1 but for ``loss`` (nats).

    Raises DataError for rows that are not those of the head. A label that the adapter does not have is a wrong answer;
    ``unknown_labels`` counts such rows, and the loss leaves them out.
    """
    texts = [row for row in rows if isinstance(row, LabelledRow)]
    tagged = [row for row in rows if isinstance(row, TaggedRow)]
    pairs = [row for row in rows if isinstance(row, PairRow)]
    if texts:
        return score_labels(model, texts, adapter, step)
    return score_tags(model, tagged, adapter, step) if tagged else score_pairs(model, pairs, adapter, step)


def score_labels(model: EncoderModel, rows: Sequence[LabelledRow], adapter: str, step: Count) -> Figures:
    """Loss, accuracy and macro F1; of several labels a text is right where all of them are."""
    head = model.labels(adapter)
    assert head is not None  # a classifier has a head
    if head.problem_type == REGRESSION:
        raise DataError(f"the head of {adapter!r} gives numbers, and the rows have labels; use an adapter with labels")
    many = head.problem_type == MULTI_LABEL
    if many != rows[0].many:
        found, needed = ("labels", "one label") if rows[0].many else ("one label", "labels")
        raise DataError(
            f"the rows have {found} each, the head of {adapter!r} gives {needed}; use the rows that it is for"
        )
    answers: list[Classification] = []
    for batch in _batches(rows):
        answers += model.classify([row.text for row in batch], adapter=[adapter] * len(batch))
        step(len(batch))
    known = set(head.labels)
    unknown = sum(1 for row in rows if not known.issuperset(row.labels))
    losses = [
        _surprise(item, row.labels, many)
        for row, item in zip(rows, answers, strict=True)
        if known.issuperset(row.labels)
    ]
    truth, told = [sorted(row.labels) for row in rows], [sorted(item.labels) for item in answers]
    figures: Figures = {"loss": float(np.mean(losses)) if losses else None}
    figures["accuracy"] = accuracy(list(map("\n".join, truth)), list(map("\n".join, told)))
    single = [labels[0] for labels in truth if labels], [labels[0] for labels in told]
    figures["macro_f1"] = label_f1(truth, told) if many else macro_f1(*single)
    figures |= {"labels": len(head.labels), "unknown_labels": unknown}
    return figures | {"truncated": sum(item.truncated for item in answers)}


def score_tags(model: EncoderModel, rows: Sequence[TaggedRow], adapter: str, step: Count) -> Figures:
    """F1 of the words' tags and of whole spans; the words are joined by blanks, as in training."""
    truth, told = [], []
    windows = 0
    for batch in _batches(rows):
        texts = [" ".join(row.tokens) for row in batch]
        for row, found in zip(batch, model.tag(texts, adapter=[adapter] * len(batch)), strict=True):
            truth.append(tags_of(spans_of(row.tags), len(row.tokens)))
            told.append(tags_of(_word_spans(row.tokens, found), len(row.tokens)))
            windows += found.windows > 1
        step(len(batch))
    return {"token_f1": token_f1(truth, told), "entity_f1": entity_f1(truth, told), "in_windows": windows}


def score_pairs(model: EncoderModel, rows: Sequence[PairRow], adapter: str, step: Count) -> Figures:
    """How often the text that belongs to an anchor is the nearest, or among ten, of all texts of the file."""
    places: dict[str, int] = {}
    for row in rows:
        for text in (row.positive, row.negative):
            if text is not None:
                places.setdefault(text, len(places))
    anchors = _embed(model, [row.anchor for row in rows], adapter, step)
    texts = _embed(model, list(places), adapter, lambda _: None)
    owners = [places[row.positive] for row in rows]
    recalls = {f"recall_at_{count}": recall_at(count, anchors, texts, owners) for count in (1, 10)}
    return {**recalls, "texts": len(places)}


def _embed(model: EncoderModel, texts: Sequence[str], adapter: str, step: Count) -> np.ndarray:
    found = []
    for batch in _batches(texts):
        found.append(model.embed(list(batch), adapter=[adapter] * len(batch)))
        step(len(batch))
    return np.concatenate(found)


def _surprise(item: Classification, labels: Sequence[str], many: bool) -> float:
    """Negative log-probability of the labels; of several the mean over all that there are."""
    if not many:
        return -math.log(max(item.scores[labels[0]], _LEAST))
    shares = [score if label in labels else 1 - score for label, score in item.scores.items()]
    return float(np.mean([-math.log(max(share, _LEAST)) for share in shares]))


def _word_spans(tokens: Sequence[str], found: Tagging) -> tuple[tuple[str, int, int], ...]:
    """Spans in characters as spans of words; one that begins or ends inside a word is of the words that it begins."""
    starts = [0, *accumulate(len(token) + 1 for token in tokens[:-1])]
    spans = []
    for span in found.spans:
        inside = [index for index, start in enumerate(starts) if span.start <= start < span.end]
        if inside:
            spans.append((span.label, inside[0], inside[-1] + 1))
    return tuple(spans)


def tags_of(spans: Sequence[tuple[str, int, int]], count: int) -> list[str]:
    """A tag for each of ``count`` words, in one form whatever the labels of a head look like."""
    tags = ["O"] * count
    for kind, first, last in spans:
        tags[first:last] = [f"B-{kind}", *[f"I-{kind}"] * (last - first - 1)]
    return tags


def _batches(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    return (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
