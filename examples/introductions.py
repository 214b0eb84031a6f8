"""What the adapters of the demonstration are for, in words that a page shows.

the name of an adapter -> about.json in its folder
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelora_runtime.files import write_atomically
from examples.steps import run_edgelora

INTRODUCTIONS: Mapping[str, Mapping[str, Any]] = {
    "addresses": {
        "title": "Addresses to JSON",
        "description": "Takes the parts of a US address out of any text, as one JSON object.",
        "examples": [
            "Parse this US address into JSON: 1204 Oak Street Apt 5, Springfield, IL 62704",
            "Parse this US address into JSON: P.O. Box 318, Cedar Falls, IA 50613",
            "Parse this US address into JSON: 77 N Washington Blvd Suite 400, Tempe AZ 85281",
        ],
        "license": "apache-2.0",
    },
    "icd": {
        "title": "Diagnoses to chapters",
        "description": "Names the chapter of ICD-10 that a diagnosis belongs to.",
        "examples": [
            f"ICD-10 chapter of this clinical term: {term}"
            for term in ("Glaucoma", "Fracture of the left wrist", "Type 2 diabetes with kidney complications")
        ],
        "license": "apache-2.0",
    },
}


def run_introducing(arguments: Sequence[str], output: Path | None) -> None:
    """Run one command of ``edgelora``; an adapter that it trains is introduced. Raises DemoError when it fails."""
    run_edgelora(arguments, output)
    if arguments[0] == "train":
        folder = Path(arguments[arguments.index("-o") + 1])
        if folder.name in INTRODUCTIONS:
            write_atomically(folder / "about.json", json.dumps(INTRODUCTIONS[folder.name], indent=1))
