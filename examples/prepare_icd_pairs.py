"""What people call a condition and what ICD-10-CM calls it: pairs for a search, from ``simple-icd-10-cm``.

Knows nothing about models: it writes ``train.jsonl`` and ``heldout.jsonl`` and stops there.
"""

from __future__ import annotations

import argparse
import random
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from examples.download import CACHE, DatasetError, write_rows
from examples.prepare_icd import MAX_CHARACTERS, fetch_tabular_list

SEED = 7
HELD_OUT_SHARE = 6  # every sixth category


@dataclass(frozen=True)
class Pair:
    """A name in use, the title of the code that it is filed under, and the 3-character category of both."""

    anchor: str
    positive: str
    category: str


def parse_pairs(xml: bytes) -> list[Pair]:
    """One pair for each code that has other names, the first of them that differs; each text once in the whole list."""
    pairs: list[Pair] = []
    seen: set[str] = set()
    for category in ElementTree.fromstring(xml).iterfind("chapter/section/diag"):
        for code in category.iter("diag"):
            title = _one_line(code.findtext("desc"))
            for note in code.iterfind("inclusionTerm/note"):
                name = _one_line(note.text)
                keys = {name.casefold(), title.casefold()}
                if len(keys) == 2 and not keys & seen and all(3 <= len(key) <= MAX_CHARACTERS for key in keys):
                    seen |= keys
                    pairs.append(Pair(name, title, category.findtext("name", "")))
                    break
    return pairs


def split_pairs(pairs: list[Pair], seed: int) -> tuple[list[Pair], list[Pair]]:
    """Whole categories are held out, so that no sibling of a training pair is asked for. Returns (train, held out)."""
    names = sorted({pair.category for pair in pairs})
    chooser = random.Random(seed)
    held = set(chooser.sample(names, len(names) // HELD_OUT_SHARE))
    parts = [pair for pair in pairs if pair.category not in held], [pair for pair in pairs if pair.category in held]
    for part in parts:
        chooser.shuffle(part)
    return parts


def prepare(folder: Path) -> None:
    """Write both files into ``folder``."""
    train, held_out = split_pairs(parse_pairs(fetch_tabular_list()), SEED)
    for name, part in (("train", train), ("heldout", held_out)):
        rows = [{"anchor": pair.anchor, "positive": pair.positive} for pair in part]
        print(f"{folder / name}.jsonl: {write_rows(folder / f'{name}.jsonl', rows)} pairs")


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Prepare pairs of names of ICD-10-CM for a search.")
    parser.add_argument("-o", "--output", type=Path, default=CACHE / "icd-pairs")
    try:
        prepare(parser.parse_args().output)
    except (DatasetError, OSError) as error:
        print(f"prepare_icd_pairs: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
