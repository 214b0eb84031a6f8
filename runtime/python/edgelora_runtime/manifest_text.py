"""A manifest as it is written: quick also with thousands of entries, and of lines that a person can read.

fields of a manifest -> text
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def manifest_text(data: Mapping[str, Any]) -> str:
    """A manifest as JSON: a line for each adapter and each file, whatever else it holds in lines of single fields."""
    line = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False).encode
    told = {"adapters": [line(item) for item in data["adapters"]]}
    told["files"] = [f"{line(name)}: {line(info)}" for name, info in sorted(data["files"].items())]
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
