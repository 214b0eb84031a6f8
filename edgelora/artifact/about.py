"""What an adapter is for, in words for people: its folder's ``about.json``, or what a command was given.

PEFT folder -> About
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from edgelora.errors import AdapterError
from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.json_fields import build
from edgelora_runtime.parse_json import parse_json

ABOUT_FILE = "about.json"

_LONGEST = 1 << 20  # bytes


@dataclass(frozen=True)
class About:
    """A short ``title``, a sentence of ``description``, ``examples`` of texts to give it, and its ``license``."""

    title: str | None = None
    description: str | None = None
    examples: tuple[str, ...] = ()
    license: str | None = None

    def before(self, other: About) -> About:
        """What ``other`` says where this says nothing."""
        said = {name: value for name, value in dataclasses.asdict(self).items() if value}
        return dataclasses.replace(other, **said)


NOTHING = About()


def read_about(folder: Path) -> About:
    """What the folder says of its adapter, nothing without an ``about.json``; raises AdapterError for a wrong one."""
    path = folder / ABOUT_FILE
    if not path.is_file():
        return NOTHING
    try:
        with path.open("rb") as stream:
            data = parse_json(stream.read(_LONGEST + 1), str(path), ArtifactError, "mend or delete it", _LONGEST)
        about: About = build(About, data, str(path), {})
    except ArtifactError as error:
        raise AdapterError(str(error)) from error
    return about
