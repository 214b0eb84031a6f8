"""Options that stand on fields of dataclasses, as typer reads them: a command asks for the whole group.

Knows nothing about what any option means.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any, get_args, get_type_hints

import typer

from edgelora.option import hints_of, option_of


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` as typer reads it: for each parameter that is a dataclass, one option for every field that has one.

    The defaults are those of the parameter's own default, so that two commands may share a group and differ in them.
    """
    groups: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    parameters: list[Parameter] = []
    single: dict[str, Any] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        annotation = get_type_hints(command, include_extras=True)[name]
        if not dataclasses.is_dataclass(annotation):
            single[name] = annotation
            parameters.append(_parameter(name, annotation, parameter.default))
            continue
        fields = hints_of(annotation)
        groups[name] = (parameter.default, fields)
        parameters += [_parameter(field, hint, getattr(parameter.default, field)) for field, hint in fields.items()]

    @functools.wraps(command)
    def call(**given: Any) -> None:
        made = {
            name: dataclasses.replace(default, **_parsed(fields, {field: given.pop(field) for field in fields}))
            for name, (default, fields) in groups.items()
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
            *option.names, help=option.help, metavar=option.metavar, show_default=option.is_default_shown
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
