"""A manifest as it is written: quick also with thousands of entries, and of lines that a person can read.

fields of a manifest -> text
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any


def manifest_text(data: Mapping[str, Any]) -> str:
    """A manifest as JSON: a line for each adapter and each file, whatever else it holds in lines of single fields."""
    line = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False).encode
    told = {"adapters": [line(item) for item in data["adapters"]]}
    told["files"] = [f"{line(name)}: {_file(info, line)}" for name, info in sorted(data["files"].items())]
    fields = []
    for name, value in sorted(data.items()):
        if name in told:
            opening, closing = "[]" if name == "adapters" else "{}"
            text = opening + ",".join(f"\n  {item}" for item in told[name]) + ("\n " if told[name] else "") + closing
        else:
            text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
            text = text.replace("\n", "\n ")  # no line break is in a text of JSON
        fields.append(f" {line(name)}: {text}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _file(info: Mapping[str, Any], line: Callable[[Any], str]) -> str:
    """What ``line`` makes of it; without a walk through the object for nearly all of thousands of files."""
    if info.keys() == {"bytes", "sha256"} and type(info["bytes"]) is int and isinstance(info["sha256"], str):
        return f'{{"bytes": {info["bytes"]}, "sha256": {line(info["sha256"])}}}'
    return line(info)
