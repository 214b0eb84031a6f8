"""A reader of files that people bring, with files that it reads.

Knows nothing about damage: a reader takes a path and raises what it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reader:
    """``read`` is given a folder and the path of the damaged file in it; ``seeds`` are files that it reads."""

    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    name: str = "file"  # of the file, in a folder that ``beside`` was copied to
    beside: Mapping[str, bytes] | None = None
