"""Reads rows that say what a text is: labels, a tag for each token, or which texts belong together.

Path, task -> LabelledRows

As in ``rows``, every line that is no row keeps its number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora.data.records import FORMATS, Record, read_records
from edgelora.data.rows import Problem, name_problems
from edgelora.errors import DataError
from edgelora_runtime.manifest import FEATURE_EXTRACTION, TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION
from edgelora_runtime.names import has_control
from edgelora_runtime.parse_json import JsonError, read_value, show

TAG_SUFFIXES = (".conll", ".bio", ".iob")
SHAPES: Mapping[str, str] = {
    TEXT_CLASSIFICATION: '{"text", "label"} or {"text", "labels": [...]}',
    TOKEN_CLASSIFICATION: '{"tokens": [...], "tags": [...]}, or a CoNLL file (.conll, .bio, .iob)',
    FEATURE_EXTRACTION: '{"anchor", "positive"}, with or without "negative"',
}
_WORDS = {TEXT_CLASSIFICATION: "classification", TOKEN_CLASSIFICATION: "tagging", FEATURE_EXTRACTION: "embedding"}
_ANY_TEXT = '{"text"}, {"tokens"} or {"anchor", "positive"}'
_BEGIN = "-DOCSTART-"


@dataclass(frozen=True)
class LabelledRow:
    """A text and its labels, of which there is one unless a text may have several, or none."""

    line: int
    text: str
    labels: tuple[str, ...]
    many: bool = False  # any number of labels


@dataclass(frozen=True)
class TaggedRow:
    """Words and the tag of each."""

    line: int
    tokens: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The tags."""
        return self.tags


@dataclass(frozen=True)
class PairRow:
    """Texts whose vectors shall be near, and one that shall be far from the first."""

    line: int
    anchor: str
    positive: str
    negative: str | None = None


AnyRow = LabelledRow | TaggedRow | PairRow


@dataclass(frozen=True)
class LabelledRows:
    """Every usable row of a file in its order, and every line that is none."""

    rows: tuple[AnyRow, ...]
    problems: tuple[Problem, ...]

    @property
    def many(self) -> bool:
        """Whether a text may have several labels."""
        return any(isinstance(row, LabelledRow) and row.many for row in self.rows)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label, sorted; whole numbers by their value."""
        found = {label for row in self.rows if not isinstance(row, PairRow) for label in row.labels}
        are_numbers = all(label.isascii() and label.isdigit() for label in found)
        return tuple(sorted(found, key=int if are_numbers else None))


def read_labelled(path: Path, task: str) -> LabelledRows:
    """Every row of a file for a task without a KV cache; raises DataError where none is usable, naming problems."""
    parse = _PARSERS[task]
    is_conll = path.suffix.lower() in TAG_SUFFIXES
    rows: list[AnyRow] = []
    problems: list[Problem] = []
    others: set[str] = set()
    for number, record in _read_conll(path) if is_conll else read_records(path):
        found = record if isinstance(record, str) else parse(number, record)
        if not isinstance(found, str) and (reason := _problem(found, rows)):
            found = reason
        if isinstance(found, str):
            problems.append(Problem(number, found))
            others |= set() if isinstance(record, str) else _tasks_of(record)
        else:
            rows.append(found)
    if not rows:
        told = name_problems(problems) or "it is empty"
        hint = f"; these are rows for --task {_WORDS[min(others)]}" if len(others) == 1 and task not in others else ""
        raise DataError(f"{path} has no usable row: {told}; expected {SHAPES[task]}{hint}")
    return LabelledRows(tuple(rows), tuple(problems))


def read_any_texts(path: Path) -> LabelledRows:
    """The texts of rows of any task, and of rows that are a text alone; what else they say is left."""
    rows: list[AnyRow] = []
    problems: list[Problem] = []
    is_conll = path.suffix.lower() in TAG_SUFFIXES
    for number, record in _read_conll(path) if is_conll else read_records(path):
        found = record if isinstance(record, str) else _texts_of(number, record)
        if isinstance(found, str):
            problems.append(Problem(number, found))
        else:
            rows += found
    if not rows:
        raise DataError(f"{path} has no text: {name_problems(problems) or 'it is empty'}; expected {_ANY_TEXT}")
    return LabelledRows(tuple(rows), tuple(problems))


def _texts_of(number: int, record: Mapping[str, Any]) -> list[LabelledRow] | str:
    if "tokens" in record:
        tokens = _opened(record["tokens"])
        texts = [" ".join(map(str, tokens))] if isinstance(tokens, list) else []
    else:
        texts = [record[key] for key in ("text", "anchor", "positive", "negative") if key in record]
    found = [text for text in texts if isinstance(text, str) and text.strip()]
    return [LabelledRow(number, text, ()) for text in found] or f"has no text in the keys {show(sorted(record))}"


def balanced_weights(rows: LabelledRows, labels: Sequence[str]) -> list[float]:
    """One weight for each label, under which rare ones count as much as common ones.

    It is rows / (labels * its rows); where a text may have several labels, rows without it / rows with it.
    """
    counts = Counter(label for row in rows.rows if not isinstance(row, PairRow) for label in row.labels)
    if rows.many:
        return [(len(rows.rows) - counts[label]) / max(1, counts[label]) or 1.0 for label in labels]
    total = counts.total()
    return [total / (len(labels) * max(1, counts[label])) for label in labels]


def _problem(row: AnyRow, before: Sequence[AnyRow]) -> str | None:
    if isinstance(row, LabelledRow) and before and isinstance(before[0], LabelledRow) and before[0].many != row.many:
        return f"has {_key(row)}, the rows before it have {_key(before[0])}"
    return None


def _key(row: LabelledRow) -> str:
    return "labels" if row.many else "label"


def _tasks_of(record: Mapping[str, Any]) -> set[str]:
    """The tasks that a row could be meant for, by its keys."""
    return {
        task
        for task, keys in (
            (TEXT_CLASSIFICATION, ("text", "label")),
            (TEXT_CLASSIFICATION, ("text", "labels")),
            (TOKEN_CLASSIFICATION, ("tokens", "tags")),
            (FEATURE_EXTRACTION, ("anchor", "positive")),
        )
        if all(key in record for key in keys)
    }


def _parse_label(number: int, data: Mapping[str, Any]) -> AnyRow | str:
    if "text" not in data or not ("label" in data or "labels" in data):
        return f"has the keys {show(sorted(data))}"
    text = data["text"]
    if not isinstance(text, str) or not text.strip():
        return "text is empty or no string"
    if "labels" not in data:
        label = _label(data["label"])
        return LabelledRow(number, text, (label,)) if label else _strange("label", data["label"])
    given = _opened(data["labels"])
    if not isinstance(given, list):
        return f"labels is {show(given)}, expected a list"
    labels = [_label(item) for item in given]
    if None in labels:
        return _strange("labels", given[labels.index(None)])
    return LabelledRow(number, text, tuple(dict.fromkeys(label for label in labels if label)), many=True)


def _parse_tags(number: int, data: Mapping[str, Any]) -> AnyRow | str:
    if "tokens" not in data or "tags" not in data:
        return f"has the keys {show(sorted(data))}"
    tokens, given = _opened(data["tokens"]), _opened(data["tags"])
    if not isinstance(tokens, list) or not isinstance(given, list) or not tokens:
        return "tokens and tags are no lists, or empty"
    if len(tokens) != len(given):
        return f"has {len(tokens)} tokens and {len(given)} tags"
    if strange := [token for token in tokens if not isinstance(token, str) or not token.strip()]:
        return f"a token is {show(strange[0])}, expected text"
    tags = [_label(tag) for tag in given]
    if None in tags:
        return _strange("a tag", given[tags.index(None)])
    return TaggedRow(number, tuple(token.strip() for token in tokens), tuple(tag for tag in tags if tag))


def _parse_pair(number: int, data: Mapping[str, Any]) -> AnyRow | str:
    if "anchor" not in data or "positive" not in data:
        return f"has the keys {show(sorted(data))}"
    texts = [data["anchor"], data["positive"], data.get("negative") or None]
    for name, text in zip(("anchor", "positive", "negative"), texts, strict=True):
        if not (isinstance(text, str) and text.strip()) and not (name == "negative" and text is None):
            return f"{name} is empty or no string"
    return PairRow(number, *texts)


_PARSERS: Mapping[str, Callable[[int, Mapping[str, Any]], AnyRow | str]] = {
    TEXT_CLASSIFICATION: _parse_label,
    TOKEN_CLASSIFICATION: _parse_tags,
    FEATURE_EXTRACTION: _parse_pair,
}


def _label(value: Any) -> str | None:
    """A label as text; whole numbers are common."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() or None if isinstance(value, str) and not has_control(value.strip()) else None


def _strange(what: str, value: Any) -> str:
    return f"{what} is {show(value)}, expected text in one line, or a whole number"


def _opened(value: Any) -> Any:
    """A list; the cell of a table can hold one as the text of JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return read_value(value)
        except JsonError:
            return value
    return value


def _read_conll(path: Path) -> Iterator[Record]:
    """The sentences of a CoNLL file: a token a line in its first column, its tag in the last, an empty line between."""
    if not path.is_file():
        raise DataError(f"{path} is not a file; expected rows as {FORMATS}, or a CoNLL file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    first, sentence = 0, list[list[str]]()
    for number, line in enumerate([*lines, ""], start=1):
        columns = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or columns[0] == _BEGIN:
            if sentence:
                yield first, _sentence(sentence, first)
            sentence = []
        elif not (line.startswith("# ") and " = " in line):  # what CoNLL-U says of a sentence
            first = number if not sentence else first
            sentence.append([column.strip() for column in columns])


def _sentence(rows: Sequence[Sequence[str]], first: int) -> dict[str, Any] | str:
    short = next((index for index, columns in enumerate(rows) if len(columns) < 2), None)
    if short is not None:
        return f"line {first + short} has a token and no tag"
    return {"tokens": [columns[0] for columns in rows], "tags": [columns[-1] for columns in rows]}
