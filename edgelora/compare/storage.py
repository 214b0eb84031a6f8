"""The small files of a report folder, and scores that remember what they depend on.

result, what it depends on -> a file, and back
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelora.errors import DataError
from edgelora_runtime.files import write_atomically


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object; an empty one where there is no file. Raises DataError when the file holds anything else."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); delete it and run again") from error
    if not isinstance(data, dict):
        raise DataError(f"{path} is a JSON {type(data).__name__}, expected an object; delete it and run again")
    return data


def read_result(path: Path, depends: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What was stored for exactly these ``depends``, None where nothing was, or for others."""
    found = read_json(path)
    # Compared as JSON holds them: a tuple comes back as a list.
    if found.get("depends") != json.loads(json.dumps(depends)) or not isinstance(found.get("result"), dict):
        return None
    result: Mapping[str, Any] = found["result"]
    return result


def write_result(path: Path, depends: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Store a result together with all that it depends on."""
    write_file(path, json.dumps({"depends": depends, "result": result}, indent=1, ensure_ascii=False) + "\n")
