"""Names to JSON: turns the labelled people and companies of ``probablepeople`` into prompt and completion rows.

Knows nothing about models: it writes ``train.jsonl`` and ``heldout.jsonl`` and stops there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.download import CACHE, DatasetError, fetch
from examples.labelled_xml import parse_labelled, write_split

HELD_OUT = 150
SEED = 7
LEAST_WORDS = 2  # whether a single word is a given name or a surname is anybody's guess
INSTRUCTION = "Parse this name into JSON: "
FILES = ("person_labeled.xml", "company_labeled.xml")
# A device pays for every token of an answer, so the labels of probablepeople become short words.
KEYS = {
    "AKA": "aka",
    "And": "and",
    "CareOf": "care_of",
    "CorporationCommitteeType": "committee",
    "CorporationLegalType": "legal",
    "CorporationName": "company",
    "CorporationNameAndCompany": "partners",
    "CorporationNameBranchIdentifier": "branch",
    "CorporationNameBranchType": "branch_type",
    "CorporationNameOrganization": "organization",
    "FirstInitial": "first_initial",
    "GivenName": "first",
    "LastInitial": "last_initial",
    "MiddleInitial": "middle_initial",
    "MiddleName": "middle",
    "Nickname": "nickname",
    "PrefixMarital": "title",
    "PrefixOther": "prefix",
    "ProxyFor": "for",
    "ShortForm": "short",
    "SuffixGenerational": "generation",
    "SuffixOther": "suffix",
    "Surname": "last",
}


def parse_names(*files: bytes) -> list[dict[str, str]]:
    """Rows of ``prompt`` and ``completion``, people before companies; a name that is in both files is ambiguous."""
    parsed = [parse_labelled(xml, INSTRUCTION, KEYS, LEAST_WORDS) for xml in files]
    prompts = [row["prompt"].casefold() for rows in parsed for row in rows]
    return [row for rows in parsed for row in rows if prompts.count(row["prompt"].casefold()) == 1]


def prepare(folder: Path) -> None:
    """Write both files into ``folder``."""
    files = [fetch("probablepeople", "0.5.6", f"name_data/labeled/{name}") for name in FILES]
    write_split(folder, parse_names(*files), HELD_OUT, SEED, "names")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Prepare the data set of people's and companies' names.")
    parser.add_argument("-o", "--output", type=Path, default=CACHE / "names")
    try:
        prepare(parser.parse_args().output)
    except (DatasetError, OSError) as error:
        print(f"prepare_names: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
