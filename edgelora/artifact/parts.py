"""What an artifact is made of, merged or not: the last value before its files.

Grid, Factors -> Parts
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelora.grid.make import Grid
from edgelora_runtime.adapter import Factors


@dataclass(frozen=True)
class Parts:
    """What an artifact is made of: the values, the factors beside them, and what was merged into them."""

    grid: Grid
    baked: Mapping[str, Factors] | None = None  # module name -> factors that stay factored, always on
    record: Mapping[str, Any] | None = None  # the manifest's ``merged``; None where nothing was merged
