"""Clinical terms to ICD-10-CM chapters: turns the tabular list of ``simple-icd-10-cm`` into text and label rows.

Knows nothing about models: it writes ``train.jsonl`` and ``heldout.jsonl`` and stops there.
"""

from __future__ import annotations

import argparse
import random
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.download import CACHE, DatasetError, fetch, write_rows

SEED = 7
TRAIN_PER_CHAPTER = 150
HELD_OUT_PER_CHAPTER = 11
HELD_OUT_OF_AN_ENCODER = 60  # which answers a thousand rows in the time of a decoder's ten
# The question comes first: what all rows begin with is computed once for a whole batch of training.
QUESTION = "ICD-10 chapter of this clinical term: "
MAX_CHARACTERS = 90  # longer terms cost training time and name their chapter anyway

# Chapter number -> (label, official range of codes). Every label starts with a token of its own.
CHAPTERS: Mapping[str, tuple[str, str]] = {
    "1": ("infection", "A00-B99"),
    "2": ("neoplasm", "C00-D49"),
    "3": ("blood", "D50-D89"),
    "4": ("metabolic", "E00-E89"),
    "5": ("mental", "F01-F99"),
    "6": ("nervous system", "G00-G99"),
    "7": ("eye", "H00-H59"),
    "8": ("ear", "H60-H95"),
    "9": ("circulatory", "I00-I99"),
    "10": ("respiratory", "J00-J99"),
    "11": ("digestive", "K00-K95"),
    "12": ("skin", "L00-L99"),
    "13": ("musculoskeletal", "M00-M99"),
    "14": ("genitourinary", "N00-N99"),
    "15": ("pregnancy", "O00-O9A"),
    "16": ("newborn", "P00-P96"),
    "17": ("congenital", "Q00-QA0"),
    "18": ("symptom", "R00-R99"),
    "19": ("injury", "S00-T88"),
    "20": ("external cause", "V00-Y99"),
    "21": ("health status", "Z00-Z99"),
    "22": ("special purpose", "U00-U85"),
}


@dataclass(frozen=True)
class Term:
    """A clinical term with the chapter's label and the 3-character category it stands in."""

    text: str
    label: str
    category: str


def parse_terms(xml: bytes) -> list[Term]:
    """Titles and inclusion terms of every code; a term that stands in two categories names neither and is left out."""
    found: list[Term] = []
    for chapter in ElementTree.fromstring(xml).iter("chapter"):
        number = chapter.findtext("name", "").strip()
        if number not in CHAPTERS:
            raise DatasetError(
                f"chapter {number!r} is unknown, expected 1 to 22; is this another edition of ICD-10-CM?"
            )
        label, codes = CHAPTERS[number]
        title = chapter.findtext("desc", "")
        if codes not in title:
            raise DatasetError(f"chapter {number} is {title!r}, expected the codes {codes}")
        for category in chapter.iterfind("section/diag"):
            code = category.findtext("name", "")
            found.extend(Term(text, label, code) for text in dict.fromkeys(_texts(category)))
    places: dict[str, set[str]] = {}
    for term in found:
        places.setdefault(term.text.casefold(), set()).add(term.category)
    unique = {term.text.casefold(): term for term in found if len(places[term.text.casefold()]) == 1}
    return list(unique.values())


def split_terms(terms: Sequence[Term], train_cap: int, held_out_cap: int, seed: int) -> tuple[list[Term], list[Term]]:
    """Split by category, so that no sibling of a training term is held out, with at most so many terms a chapter.

    About every sixth category of a chapter is held out, at least one. Returns (train, held out).
    """
    chooser = random.Random(seed)
    train: list[Term] = []
    held_out: list[Term] = []
    for label in sorted({term.label for term in terms}):
        categories: dict[str, list[Term]] = {}
        for term in terms:
            if term.label == label:
                categories.setdefault(term.category, []).append(term)
        names = sorted(categories)
        chooser.shuffle(names)
        if len(names) < 6:  # too few to lose a large one
            names.sort(key=lambda name: (len(categories[name]), name))
        cut = max(1, len(names) // 6) if len(names) > 1 else 0
        held_out += _round_robin([categories[name] for name in names[:cut]], held_out_cap, chooser)
        train += _round_robin([categories[name] for name in names[cut:]], train_cap, chooser)
    chooser.shuffle(train)
    chooser.shuffle(held_out)
    return train, held_out


def to_row(term: Term, question: str = QUESTION) -> dict[str, str]:
    """The row that ``edgelora train`` and ``edgelora eval`` read."""
    return {"text": question + term.text, "label": term.label}


def fetch_tabular_list() -> bytes:
    """The XML of the classification."""
    return fetch("simple-icd-10-cm", "1.5.0", "simple_icd_10_cm/data/icd10c-tabular-April-1-2026.xml")


def prepare(folder: Path, question: str = QUESTION, held_out_cap: int = HELD_OUT_PER_CHAPTER) -> None:
    """Write both files into ``folder``; an encoder needs no question."""
    train, held_out = split_terms(parse_terms(fetch_tabular_list()), TRAIN_PER_CHAPTER, held_out_cap, SEED)
    for name, part in (("train", train), ("heldout", held_out)):
        count = write_rows(folder / f"{name}.jsonl", [to_row(term, question) for term in part])
        fewest = min(Counter(term.label for term in part).items(), key=lambda item: item[1])
        print(f"{folder / name}.jsonl: {count} terms, fewest for {fewest[0]!r}: {fewest[1]}")


def _texts(category: ElementTree.Element) -> list[str]:
    texts: list[str] = []
    for code in category.iter("diag"):
        raw = [code.findtext("desc"), *(note.text for note in code.iterfind("inclusionTerm/note"))]
        texts += [text for item in raw if 3 <= len(text := " ".join((item or "").split())) <= MAX_CHARACTERS]
    return texts


def _round_robin(groups: Sequence[Sequence[Term]], limit: int, chooser: random.Random) -> list[Term]:
    """Up to ``limit`` terms, one from each group in turn, so that a category of 900 fractures cannot fill a chapter."""
    queues = [chooser.sample(list(group), len(group)) for group in groups]
    taken: list[Term] = []
    while len(taken) < limit and any(queues):
        for queue in queues:
            if queue and len(taken) < limit:
                taken.append(queue.pop())
    return taken


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Prepare the ICD-10-CM chapter data set.")
    parser.add_argument("-o", "--output", type=Path, default=CACHE / "icd")
    parser.add_argument("--plain", action="store_true", help="the terms alone, for an encoder; more of them held out")
    given = parser.parse_args()
    try:
        if given.plain:
            prepare(given.output, question="", held_out_cap=HELD_OUT_OF_AN_ENCODER)
        else:
            prepare(given.output)
    except (DatasetError, OSError) as error:
        print(f"prepare_icd: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
