"""US addresses to a tag for each word: the labelled addresses of ``usaddress`` as rows of tokens and tags.

Knows nothing about models: it writes ``train.jsonl`` and ``heldout.jsonl`` and stops there.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from examples.download import CACHE, DatasetError, fetch, write_rows
from examples.prepare_addresses import KEYS

SEED = 7
HELD_OUT = 400
Row = dict[str, list[str]]
_PIECES = re.compile(r"[,;()]+|[^,;()]+")  # what stands between fields is of none


def parse_tags(xml: bytes) -> list[Row]:
    """Rows in file order, each address once; neighbours of one label are one span."""
    rows: list[Row] = []
    seen: set[str] = set()
    for address in ElementTree.fromstring(xml):
        words = [
            (piece, token.tag) for token in address for piece in _PIECES.findall("".join((token.text or "").split()))
        ]
        key = " ".join(piece for piece, _ in words).casefold()
        if not words or key in seen:
            continue
        seen.add(key)
        rows.append({"tokens": [piece for piece, _ in words], "tags": tag(words)})
    return rows


def tag(words: list[tuple[str, str]]) -> list[str]:
    """``B-kind`` where a span begins, ``I-kind`` where it goes on, ``O`` for what stands between fields."""
    tags: list[str] = []
    last = ""
    for piece, label in words:
        if _PIECES.match(piece) and piece[0] in ",;()":
            tags.append("O")
            continue
        tags.append(f"{'I' if label == last else 'B'}-{KEYS.get(label, label)}")
        last = label
    return tags


def split_tags(rows: list[Row], held_out: int, seed: int) -> tuple[list[Row], list[Row]]:
    """(train, held out); an address with a tag that no other training address has is one to learn from."""
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    train, rest = shuffled[held_out:], shuffled[:held_out]
    known = {name for row in train for name in row["tags"]}
    unknown = [row for row in rest if not known.issuperset(row["tags"])]
    return train + unknown, [row for row in rest if known.issuperset(row["tags"])]


def prepare(folder: Path) -> None:
    """Write both files into ``folder``."""
    train, held_out = split_tags(parse_tags(fetch("usaddress", "0.5.16", "training/labeled.xml")), HELD_OUT, SEED)
    for name, part in (("train", train), ("heldout", held_out)):
        print(f"{folder / name}.jsonl: {write_rows(folder / f'{name}.jsonl', part)} addresses")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Prepare the US address data set for a tagger.")
    parser.add_argument("-o", "--output", type=Path, default=CACHE / "address-tags")
    try:
        prepare(parser.parse_args().output)
    except (DatasetError, OSError) as error:
        print(f"prepare_address_tags: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
