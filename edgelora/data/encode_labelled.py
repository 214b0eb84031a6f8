"""Turns labelled rows into token ids and numbers, with the tokens that the device will feed.

LabelledRows, Tokenizer -> Encoded
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from edgelora.data.encode import Encoded, Example, check_ids
from edgelora.data.labelled import AnyRow, LabelledRows, PairRow, TaggedRow
from edgelora.data.rows import Problem, name_problems
from edgelora.errors import ConfigError, DataError, EdgeLoraError
from edgelora_runtime.spans import find_words
from edgelora_runtime.text import EncodedText, Tokenizer

NOT_LEARNED = -100  # the target of a token that has none; what torch leaves out of a cross entropy


@dataclass(frozen=True)
class Labelled:
    """A text and what its answer shall be.

    ``targets`` is the label's number; 0 or 1 for each label where a text may have several; of tags one for each token.
    """

    line: int
    ids: tuple[int, ...]
    targets: tuple[int, ...]
    is_tagged: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that are read."""
        return len(self.ids)

    @property
    def learned(self) -> int:
        """Answers that the loss is the mean of."""
        return sum(target != NOT_LEARNED for target in self.targets) if self.is_tagged else 1

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from others."""
        return (self.ids, self.targets)


@dataclass(frozen=True)
class Pair:
    """Texts that belong together, and one that does not."""

    line: int
    ids: tuple[int, ...]  # of the anchor
    positive: tuple[int, ...]
    negative: tuple[int, ...] | None = None

    @property
    def tokens(self) -> int:
        """Tokens that are read."""
        return len(self.ids) + len(self.positive) + len(self.negative or ())

    @property
    def learned(self) -> int:
        """One: which of the batch's texts belongs to the anchor."""
        return 1

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from others."""
        return (self.ids, self.positive, self.negative)


def encode_labelled(
    rows: LabelledRows, tokenizer: Tokenizer, labels: Sequence[str], max_length: int, where: str
) -> Encoded:
    """Encode every row; texts of more than ``max_length`` tokens lose their end, as on the device, and are counted.

    A label that is none of ``labels`` is a problem. Raises DataError when nothing is left.
    """
    numbers = {label: index for index, label in enumerate(labels)}
    examples: list[Labelled | Pair] = []
    problems = list(rows.problems)
    cut = 0
    for row in rows.rows:
        try:
            example, is_cut = _encode(row, tokenizer, numbers, max_length)
            check_ids((*example.ids, *(example.positive if isinstance(example, Pair) else ())), tokenizer)
        except EdgeLoraError as error:
            problems.append(Problem(row.line, str(error)))
            continue
        examples.append(example)
        cut += is_cut
    problems.sort(key=lambda problem: problem.line)
    if not examples:
        raise DataError(f"{where} has no row to train on: {name_problems(problems)}")
    return Encoded(tuple(examples), tuple(problems), cut=cut)


def encode_texts(rows: LabelledRows, tokenizer: Tokenizer, max_length: int, where: str) -> Encoded:
    """The texts of rows alone, every token of them learned; what is longer loses its end and is counted."""
    found = encode_labelled(rows, tokenizer, (), max_length, where)
    whole = tuple(Example(example.line, example.ids, 0) for example in found.examples)
    return Encoded(whole, found.problems, cut=found.cut)


def _encode(
    row: AnyRow, tokenizer: Tokenizer, numbers: Mapping[str, int], max_length: int
) -> tuple[Labelled | Pair, bool]:
    if isinstance(row, PairRow):
        texts = [text for text in (row.anchor, row.positive, row.negative) if text is not None]
        found = [_cut(item, max_length) for item in tokenizer.encode_texts(texts)]
        return Pair(row.line, *(ids for ids, _ in found)), any(is_cut for _, is_cut in found)
    if strange := [label for label in row.labels if label not in numbers]:
        raise DataError(f"label {strange[0]!r} is none of those that are trained")
    if isinstance(row, TaggedRow):
        return _encode_tags(row, tokenizer, numbers, max_length)
    ids, is_cut = _cut(tokenizer.encode_texts([row.text])[0], max_length)
    chosen = tuple(numbers[label] for label in row.labels)
    targets = tuple(int(index in chosen) for index in range(len(numbers))) if row.many else chosen
    return Labelled(row.line, ids, targets), is_cut


def _encode_tags(
    row: TaggedRow, tokenizer: Tokenizer, numbers: Mapping[str, int], max_length: int
) -> tuple[Labelled, bool]:
    """The tokens joined by blanks; a tag is learned at the first token of each word that the device finds in it.

    Where that finds several words in one, the first is as tagged and the others go on with it.
    """
    text = " ".join(row.tokens)
    encoded = tokenizer.encode_texts([text])[0]
    ids, is_cut = _cut(encoded, max_length)
    starts = [0, *accumulate(len(token) + 1 for token in row.tokens[:-1])]
    targets = [NOT_LEARNED] * len(ids)
    owner, seen = 0, -1
    for word in find_words(text, encoded.offsets):
        while owner + 1 < len(starts) and starts[owner + 1] <= word.start:
            owner += 1
        place = len(encoded.before) + word.token
        if place >= len(ids) - len(encoded.after):
            break
        tag = row.tags[owner]
        goes_on = f"I-{tag[2:]}" if owner == seen and tag.startswith("B-") else tag
        targets[place] = numbers.get(goes_on, numbers[tag])
        seen = owner
    if all(target == NOT_LEARNED for target in targets):
        raise DataError("the tokenizer makes no token of its words")
    return Labelled(row.line, ids, tuple(targets), is_tagged=True), is_cut


def _cut(encoded: EncodedText, max_length: int) -> tuple[tuple[int, ...], bool]:
    room = max_length - len(encoded.before) - len(encoded.after)
    if room < 1:
        raise ConfigError(f"--max-length is {max_length}, fewer than the special tokens of a text and one of its own")
    if not encoded.ids:
        raise DataError("the tokenizer makes no token of it")
    return tuple(encoded.cut(0, room)), len(encoded.ids) > room
