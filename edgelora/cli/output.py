"""What a command says: results on standard output, everything else on standard error.

JSON payload, lines -> what is printed
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgelora_runtime.files import naming

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]


def emit(as_json: bool, payload: Mapping[str, Any], lines: Iterable[str]) -> None:
    """Print the result of a command: ``payload`` as one JSON object, or ``lines`` for people."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    said = [json.dumps(payload, ensure_ascii=not is_utf8, allow_nan=False)] if as_json else lines
    with naming(Path("standard output")):
        for line in said:
            print(line)


def note(text: str) -> None:
    """Say something that is no result."""
    print(f"edgelora: {text}", file=sys.stderr)


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows of cells as lines with aligned columns; every row has as many cells as the first."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def finite(value: float) -> float | None:
    """A number as JSON can hold it: None for what is not finite."""
    return float(value) if math.isfinite(value) else None


def size(count: int) -> str:
    """A number of bytes for people, in decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
