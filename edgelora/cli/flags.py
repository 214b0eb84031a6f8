"""Options that stand on fields of dataclasses, as typer reads them: a command asks for the whole group.

command with a dataclass of options -> command that typer reads
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any, get_args, get_type_hints

import typer

from edgelora.cli.config import CONFIG, config_option
from edgelora.option import hints_of, option_of

Command = Callable[..., None]


def spread(command: Command) -> Command:
    """``command`` as typer reads it: for each parameter that is a dataclass, one option for every field that has one.

    The defaults are those of the parameter's own default, so that two commands may share a group and differ in them.
    """
    return _spread(command, with_config=False)


def repeatable(command: Command) -> Command:
    """The same with ``--config``, whose file the command itself never sees."""
    return _spread(command, with_config=True)


def _spread(command: Command, with_config: bool) -> Command:
    hints = get_type_hints(command, include_extras=True)
    given_as = inspect.signature(command).parameters
    groups = {name: hints_of(hint) for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    single = {name: hints[name] for name in given_as if name not in groups}
    fields = {**single, **{field: hint for group in groups.values() for field, hint in group.items()}}
    options = {field: option for field, hint in fields.items() if (option := option_of(hint))}
    parameters: list[Parameter] = []
    for name, parameter in given_as.items():
        if name in groups:
            parameters += [
                _parameter(field, groups[name][field], getattr(parameter.default, field)) for field in groups[name]
            ]
        else:
            parameters.append(_parameter(name, hints[name], parameter.default))
    if with_config:
        parameters.insert(-1, _parameter(CONFIG, config_option(options), None))  # --json is the last

    @functools.wraps(command)
    def call(**given: Any) -> None:
        given.pop(CONFIG, None)
        made = {
            name: dataclasses.replace(
                given_as[name].default, **_parsed(group, {field: given.pop(field) for field in group})
            )
            for name, group in groups.items()
        }
        command(**{**given, **_parsed(single, given)}, **made)

    vars(call)["__signature__"] = Signature(parameters)
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _parameter(name: str, annotation: Any, default: Any) -> Parameter:
    option = option_of(annotation)
    if option is not None:
        kind = get_args(annotation)[0] if option.kind is None else option.kind
        shown = typer.Option(
            *option.names,
            help=option.help,
            metavar=option.metavar,
            min=option.least,
            show_default=option.is_default_shown,
        )
        annotation, default = Annotated[kind, shown], None if option.parse else default
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parsed(annotations: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values as the fields want them; what has to be parsed and was not given is left at its default."""
    found = {}
    for name, value in given.items():
        option = option_of(annotations[name])
        if option is None or option.parse is None:
            found[name] = value
        elif value is not None:
            found[name] = option.parse(value)
    return found
