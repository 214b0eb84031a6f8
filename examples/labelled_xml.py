"""Texts whose words carry labels in XML, as the parserator packages ship them, to prompt and completion rows.

Knows nothing about which labels there are: a data set brings its instruction and its short words.
"""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

from examples.download import write_rows


def parse_labelled(xml: bytes, instruction: str, keys: Mapping[str, str], least_words: int = 1) -> list[dict[str, str]]:
    """Rows of ``prompt`` and ``completion`` in file order; each text once, ambiguous ones left out.

    ``keys`` renames labels; texts of fewer than ``least_words`` labelled words are left out as well.
    """
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for item in ElementTree.fromstring(xml):
        fields = merge_fields([(token.tag, token.text or "") for token in item])
        text = " ".join("".join(item.itertext()).split())
        key = text.casefold()
        if not fields or len(item) < least_words or key in seen:
            continue
        seen.add(key)
        named = {keys.get(label, label): value for label, value in fields.items()}
        answer = json.dumps(named, ensure_ascii=False, separators=(",", ":"))
        rows.append({"prompt": instruction + text, "completion": answer})
    return rows


def merge_fields(tokens: list[tuple[str, str]]) -> dict[str, str]:
    """Join neighbouring tokens of one label, without the commas that separate fields.

    Empty when a label comes back after another one ("Route 30 & Route 45"): a flat object cannot hold both.
    """
    fields: dict[str, str] = {}
    last = ""
    for label, text in tokens:
        value = text.strip().strip(",;").strip()
        if not value:
            continue
        if label == last:
            fields[label] += " " + value
        elif label in fields:
            return {}
        else:
            fields[label] = value
        last = label
    return fields


def split_rows(
    rows: list[dict[str, str]], held_out: int, seed: int
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Shuffle with a seed and cut off ``held_out`` rows; returns (train, held out)."""
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    return shuffled[held_out:], shuffled[:held_out]


def write_split(folder: Path, rows: list[dict[str, str]], held_out: int, seed: int, what: str) -> None:
    """Write ``train.jsonl`` and ``heldout.jsonl`` into ``folder`` and say how many ``what`` each holds."""
    train, rest = split_rows(rows, held_out, seed)
    for name, part in (("train", train), ("heldout", rest)):
        count = write_rows(folder / f"{name}.jsonl", part)
        print(f"{folder / name}.jsonl: {count} {what}")
