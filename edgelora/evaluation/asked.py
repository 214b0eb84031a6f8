"""Which prompts two adapters are asked, to see whether they disturb each other.

files of rows -> Asked, Rows
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgelora.data.rows import Rows, read_rows
from edgelora.errors import ConfigError
from edgelora.evaluation.interference import B


@dataclass(frozen=True)
class Asked:
    """Which prompts are asked: rows of one file for both adapters, or of a file for each; without any, the probes.

    ``merged`` is an adapter made of both that is asked in the place of their blend.
    """

    prompts: tuple[Path, ...] = ()
    limit: int = 16  # rows of each file
    merged: Path | None = None

    def __post_init__(self) -> None:
        if len(self.prompts) > 2:
            raise ConfigError(f"found {len(self.prompts)} files of prompts; give one for both adapters or one for each")
        if self.limit < 1:
            raise ConfigError(f"--limit is {self.limit}, expected at least 1")

    def file(self, name: str) -> Path | None:
        """The rows of one adapter."""
        return self.prompts[-1 if name == B else 0] if self.prompts else None

    def rows(self, path: Path) -> Rows:
        """The first rows of a file."""
        return Rows(read_rows(path).rows[: self.limit], ())
