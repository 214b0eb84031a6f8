"""``--config FILE``: a file gives the options of a command that the command line leaves open.

TOML or JSON file, Option -> values of options that the command line left open

``train``, ``recover``, ``quantize`` and ``export`` write such a file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgelora.errors import ConfigError
from edgelora.option import COMMAND_KEY, Option
from edgelora_runtime.parse_json import read_json, show

_OWN = {"config", "as_json", "help"}  # of the call, not of the run
_ADVICE = "give a TOML file, or a JSON file as `edgelora train` writes beside an adapter"
CONFIG = "config"  # the parameter


def config_option(options: Mapping[str, Option]) -> Any:
    """The annotation of ``--config`` for a command with these ``options``, by the names of their parameters."""

    def use_file(ctx: typer.Context, path: Path | None) -> Path | None:
        if path is not None:
            ctx.default_map = _defaults(path, ctx, options)
        return path

    return Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            is_eager=True,  # before the options that it gives
            callback=use_file,
            help="Options from a TOML or JSON file, by their names here; what the command line gives wins.",
        ),
    ]


def read_config(path: Path) -> dict[str, Any]:
    """The options in a file, by name; raises ConfigError for a file that is none."""
    if path.suffix == ".toml":
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"--config {path} cannot be read ({error.strerror}); {_ADVICE}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"--config {path} is not TOML ({error}); {_ADVICE}") from error
    if path.suffix != ".json":
        raise ConfigError(f"--config {path} is named neither .toml nor .json; {_ADVICE}")
    found = read_json(path, ConfigError, _ADVICE)
    if not isinstance(found, dict):
        raise ConfigError(f"--config {path} holds no JSON object; {_ADVICE}")
    return found


def _defaults(path: Path, ctx: typer.Context, options: Mapping[str, Option]) -> dict[str, Any]:
    """What ``path`` gives to the parameters of the command that is being read."""
    given = {key.replace("-", "_"): value for key, value in read_config(path).items()}
    command = given.pop(COMMAND_KEY, ctx.info_name)
    if command != ctx.info_name:
        raise ConfigError(f"--config {path} is of the command {show(command)}, this is {ctx.info_name}")
    known = {_key(param): param for param in ctx.command.params if param.name not in _OWN}
    if unknown := sorted(given.keys() - known.keys()):
        raise ConfigError(
            f"--config {path}: unknown {show(unknown)}; `edgelora {ctx.info_name} --help` lists the options"
        )
    return {
        str(known[key].name): _as_given(f"--config {path}: {key}", value, known[key], options.get(str(known[key].name)))
        for key, value in given.items()
        if value is not None
    }


def _key(param: Any) -> str:
    long = next((name for name in param.opts if name.startswith("--")), param.name)
    return str(long).removeprefix("--").replace("-", "_")


def _as_given(where: str, value: Any, param: Any, option: Option | None) -> Any:
    """A value as the command line would give it; raises ConfigError for one of another kind."""
    if getattr(param, "multiple", False) and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    if option is not None and option.write is not None and not isinstance(value, str):
        try:
            return option.write(value)
        except (AttributeError, TypeError) as error:
            raise ConfigError(f"{where} is {show(value)}, expected what --help says of the option") from error
    is_flag = bool(getattr(param, "is_flag", False))
    if is_flag != isinstance(value, bool):
        raise ConfigError(f"{where} is {show(value)}, expected {'true or false' if is_flag else 'a number or a text'}")
    if not isinstance(value, (str, int, float)):
        raise ConfigError(f"{where} is {show(value)}, expected a number or a text")
    return value if is_flag else str(value)
