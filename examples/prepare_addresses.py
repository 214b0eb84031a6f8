"""US addresses to JSON: turns the labelled addresses of the ``usaddress`` package into prompt and completion rows.

Knows nothing about models: it writes ``train.jsonl`` and ``heldout.jsonl`` and stops there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.download import CACHE, DatasetError, fetch
from examples.labelled_xml import parse_labelled, write_split

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
    return parse_labelled(xml, INSTRUCTION, KEYS)


def prepare(folder: Path) -> None:
    """Write both files into ``folder``."""
    rows = parse_addresses(fetch("usaddress", "0.5.16", "training/labeled.xml"))
    write_split(folder, rows, HELD_OUT, SEED, "addresses")


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
