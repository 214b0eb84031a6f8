"""Reads JSON that came with a model, with one line for files that are broken.

JSON file -> dict or list, or CheckpointError
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelora.errors import CheckpointError
from edgelora_runtime.parse_json import read_json, show


def read_object(path: Path, *, required: bool = True) -> dict[str, Any]:
    """The object in a JSON file, empty where a file that is not ``required`` is missing; raises CheckpointError."""
    if not required and not path.is_file():
        return {}
    value = read_json(path, CheckpointError, "download it again")
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} holds {show(value)}; expected a JSON object")
    return value


def read_list(path: Path) -> list[Any]:
    """The list in a JSON file; raises CheckpointError."""
    value = read_json(path, CheckpointError, "download it again")
    if not isinstance(value, list):
        raise CheckpointError(f"{path.name} holds {show(value)}; expected a JSON list")
    return value


def first_line(error: BaseException) -> str:
    """The first sentence of an error: libraries explain at length, a command line has one line."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")[:200]
    return "".join(character if character.isprintable() else "?" for character in line)
