"""The model card of an adapter: what a model hub reads of it, before what people read.

base model's name, lines -> a README.md in the adapter's folder
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from edgelora_runtime.files import write_atomically

CARD_FILE = "README.md"
_MARK = "<!-- Written by edgelora, which replaces it with the adapter; take this line out to keep your own page. -->"


def write_card(folder: Path, base_model: str, lines: Iterable[str]) -> None:
    """Write ``README.md``; ``base_model`` is what a hub knows the base by, such as ``org/name``."""
    front = [
        "---",
        f"base_model: {json.dumps(base_model)}",
        "library_name: peft",
        "tags:",
        "- lora",
        "- edgelora",
        "---",
    ]
    write_atomically(folder / CARD_FILE, "\n".join([*front, "", _MARK, "", *lines]) + "\n")


def is_card(path: Path) -> bool:
    """Whether a file is a card that was written here and not made somebody's own."""
    return _MARK.encode() in path.read_bytes()
