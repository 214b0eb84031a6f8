"""Read JSON objects that came with a model, with one line for those that are broken.

Knows nothing about what a file means.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgelora.errors import CheckpointError


def read_object(path: Path, *, required: bool = True) -> dict[str, Any]:
    """The object in a JSON file, empty where a file that is not ``required`` is missing; raises CheckpointError."""
    if not required and not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # malformed JSON and bytes that are not UTF-8
        raise CheckpointError(f"{path.name} is no JSON ({first_line(error)}); download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} holds a {type(value).__name__}; expected a JSON object")
    return value


def first_line(error: BaseException) -> str:
    """The first sentence of an error: libraries explain at length, a command line has one line."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line.split(". ")[0].rstrip(".")[:200]
