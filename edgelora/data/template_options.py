"""The options of what a chat template gets beside messages: variables, and the day that it writes.

NAME=JSON texts -> template variables

``train``, ``recover``, ``export``, ``run``, ``chat`` and ``eval`` share them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from edgelora.errors import ConfigError
from edgelora.option import Option
from edgelora_runtime.errors import InputError
from edgelora_runtime.parse_json import JsonError, read_value
from edgelora_runtime.rendering import check_variables


def read_variables(given: Sequence[str] | None) -> dict[str, Any] | None:
    """The variables by name, None where none was given; raises ConfigError for what is no KEY=VALUE."""
    if given is None or not given:
        return None
    found: dict[str, Any] = {}
    for item in given:
        name, separator, text = item.partition("=")
        if not separator or name in found:
            raise ConfigError(f"--template-var is {item!r}, expected KEY=VALUE, each KEY once")
        if text in ("True", "False", "None"):
            python = {"True": "true", "False": "false", "None": "null"}[text]
            raise ConfigError(f"--template-var {item} would be text, which counts as true; write {name}={python}")
        try:
            found[name] = read_value(text)
        except JsonError:
            found[name] = text
    try:
        return check_variables(found)
    except InputError as error:
        raise ConfigError(str(error)) from error


def write_variables(variables: Mapping[str, Any]) -> list[str]:
    """The way back."""
    return [f"{name}={json.dumps(value)}" for name, value in variables.items()]


TemplateVariables = Annotated[
    Mapping[str, Any] | None,
    Option(
        "A variable of the chat template, as enable_thinking=false: a JSON value, or text; may be repeated.",
        names=("--template-var",),
        metavar="KEY=VALUE",
        kind=list[str] | None,
        parse=read_variables,
        write=write_variables,
    ),
]
Day = Annotated[
    str | None,
    Option(
        "The day for chat templates that write the date.  [default: today]",
        names=("--date",),
        metavar="YYYY-MM-DD",
        is_default_shown=False,
    ),
]
