"""What a field of an options dataclass says of itself: one list that the commands, Python and ``--config`` all read.

dataclass whose fields are annotated with an Option -> a file of options, and back
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from edgelora.errors import ConfigError
from edgelora_runtime.files import write_atomically
from edgelora_runtime.parse_json import read_json

OPTIONS_FILE = "options.json"  # in the folder of a result
COMMAND_KEY = "command"  # in a file of options: whose they are


@dataclass(frozen=True)
class Option:
    """How a field is written on the command line; what is left out follows from the field itself."""

    help: str
    names: tuple[str, ...] = ()  # --field-name without any
    metavar: str | None = None
    kind: Any = None  # the type there, where it is another than the field's
    parse: Callable[[Any], Any] | None = None  # from a value of ``kind`` to one of the field
    write: Callable[[Any], Any] | None = None  # the way back, for values from a file
    least: int | None = None
    is_default_shown: bool = True

    def key(self, field: str) -> str:
        """The name in a file of options: that of the command line with ``_`` for ``-``."""
        long = next((name for name in self.names if name.startswith("--")), field)
        return long.split("/", 1)[0].removeprefix("--").replace("-", "_")


def option_of(annotation: Any) -> Option | None:
    """The option that an annotation carries."""
    return next((item for item in getattr(annotation, "__metadata__", ()) if isinstance(item, Option)), None)


def hints_of(kind: Any) -> Mapping[str, Any]:
    """The annotations of the fields of a dataclass that are options; the others are for Python alone."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if option_of(hints[field.name])}


def split_names(text: str) -> tuple[str, ...]:
    """Names with commas between, blanks around them taken off."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def join_names(names: Sequence[str]) -> str:
    """The way back."""
    return ",".join(names)


def record_options(options: Any) -> dict[str, Any]:
    """What an options dataclass holds as a file of options has it: by the names of the command line, None left out."""
    found = {}
    for name, hint in hints_of(type(options)).items():
        option, value = option_of(hint), getattr(options, name)
        assert option is not None
        if value is not None:
            found[option.key(name)] = _plain(value)
    return found


def write_options(path: Path, config: Mapping[str, Any]) -> None:
    """Write a file that ``--config`` reads."""
    write_atomically(path, json.dumps(config, indent=1, ensure_ascii=False) + "\n")


def is_options_of(path: Path, command: str) -> bool:
    """Whether ``path`` is a file that ``command`` has written with its result, and may replace."""
    try:
        found = read_json(path, ConfigError, "leave it out")
    except ConfigError:
        return False
    return isinstance(found, dict) and found.get(COMMAND_KEY) == command


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def read_text(options: Any) -> None:
    """Let a frozen options dataclass be given text as the command line is; its ``__post_init__`` calls this."""
    for name, hint in hints_of(type(options)).items():
        option, kinds, value = option_of(hint), get_args(get_args(hint)[0]), getattr(options, name)
        if isinstance(value, str) and option is not None and option.parse is not None:
            object.__setattr__(options, name, option.parse(value))
        elif isinstance(value, str) and Path in kinds:
            object.__setattr__(options, name, Path(value))
        elif isinstance(value, Mapping) and Path in kinds:
            object.__setattr__(options, name, {key: Path(path) for key, path in value.items()})
