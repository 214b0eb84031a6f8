"""US addresses to JSON: turns the labelled addresses of the ``usaddress`` package into prompt and completion rows.

Knows nothing about models: it writes ``train.jsonl`` and ``heldout.jsonl`` and stops there.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from examples.download import CACHE, DatasetError, fetch, write_rows

HELD_OUT = 200
SEED = 7
INSTRUCTION = "Parse this US address into JSON: "
# A device pays for every token of an answer, so the labels of usaddress become short words.
KEYS = {
    "AddressNumber": "number",
    "AddressNumberPrefix": "number_prefix",
    "AddressNumberSuffix": "number_suffix",
    "BuildingName": "building",
    "CornerOf": "corner",
    "CountryName": "country",
    "IntersectionSeparator": "and",
    "LandmarkName": "landmark",
    "NotAddress": "other",
    "OccupancyIdentifier": "unit",
    "OccupancyType": "unit_type",
    "PlaceName": "city",
    "Recipient": "recipient",
    "StateName": "state",
    "StreetName": "street",
    "StreetNamePostDirectional": "direction_after",
    "StreetNamePostModifier": "modifier_after",
    "StreetNamePostType": "type",
    "StreetNamePreDirectional": "direction",
    "StreetNamePreModifier": "modifier",
    "StreetNamePreType": "type_before",
    "SubaddressIdentifier": "part",
    "SubaddressType": "part_type",
    "USPSBoxGroupID": "route",
    "USPSBoxGroupType": "route_type",
    "USPSBoxID": "box",
    "USPSBoxType": "box_type",
    "ZipCode": "zip",
    "ZipPlus4": "zip_extension",
}


def parse_addresses(xml: bytes) -> list[dict[str, str]]:
    """Rows of ``prompt`` and ``completion`` in file order; each address once, ambiguous ones left out."""
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for address in ElementTree.fromstring(xml):
        fields = merge_fields([(token.tag, token.text or "") for token in address])
        text = " ".join("".join(address.itertext()).split())
        key = text.casefold()
        if not fields or key in seen:
            continue
        seen.add(key)
        named = {KEYS.get(label, label): value for label, value in fields.items()}
        answer = json.dumps(named, ensure_ascii=False, separators=(",", ":"))
        rows.append({"prompt": INSTRUCTION + text, "completion": answer})
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


def prepare(folder: Path) -> None:
    """Write both files into ``folder``."""
    rows = parse_addresses(fetch("usaddress", "0.5.16", "training/labeled.xml"))
    train, held_out = split_rows(rows, HELD_OUT, SEED)
    for name, part in (("train", train), ("heldout", held_out)):
        count = write_rows(folder / f"{name}.jsonl", part)
        print(f"{folder / name}.jsonl: {count} addresses")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Prepare the US address data set.")
    parser.add_argument("-o", "--output", type=Path, default=CACHE / "addresses")
    try:
        prepare(parser.parse_args().output)
    except (DatasetError, OSError) as error:
        print(f"prepare_addresses: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
