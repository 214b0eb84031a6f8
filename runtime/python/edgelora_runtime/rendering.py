"""Prompts through the chat template: messages, tools and variables in, text out, as transformers renders it.

messages, tools, variables -> text

``chat_template.py`` runs the template.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgelora_runtime.errors import InputError
from edgelora_runtime.messages import Messages, Tools, as_parts, as_text, check_messages, check_tools
from edgelora_runtime.names import GIVEN_VARIABLES, is_variable
from edgelora_runtime.parse_json import show

if TYPE_CHECKING:
    from edgelora_runtime.chat_template import ChatTemplate

ADVICE = "run: pip install 'edgelora-runtime[text]'"

_NEEDLE = "edgelora needle"  # whatever finds its way through a template did not get lost in it
_PARTS = ("'type'", '"type"')  # how a list of parts looks when a template that wants text prints it


class Renderer:
    """Renders conversations exactly as transformers does with the same template.

    ``variables`` are what the template may ask for beside messages and tools, special tokens among them; ``date`` is
    today for ``strftime_now``, the day of each call where it is None.
    """

    def __init__(
        self, source: str, variables: Mapping[str, Any] | None = None, date: datetime.date | None = None
    ) -> None:
        self.source = source
        self._variables = dict(variables or {})
        self._date = date
        self._compiled: ChatTemplate | None = None

    def replace(self, variables: Mapping[str, Any], date: datetime.date | None) -> Renderer:
        """The same template with more variables, and another date where one is given."""
        changed = Renderer(self.source, {**self._variables, **check_variables(variables)}, date or self._date)
        changed._compiled = self._compiled
        return changed

    def render(self, messages: Messages, add_generation_prompt: bool = True, tools: Tools | None = None) -> str:
        """The text of a conversation; raises InputError when the template refuses it or would leave a part of it out.

        Content may be text or a list of text parts, and gets the form that the template can use. ``tools``,
        ``tool_calls`` and messages of the role ``tool`` that change nothing in the text are refused: the model would
        never hear of them.
        """
        given = [self._convert(message) for message in check_messages(messages)]
        known = None if tools is None else check_tools(tools)
        text = self._render(given, add_generation_prompt, known)
        without: dict[str, tuple[list[dict[str, Any]], Tools | None]] = {}
        if known:
            without["tools"] = (given, None)
        if any("tool_calls" in message for message in given):
            without["tool_calls"] = ([_leave_out(message, "tool_calls") for message in given], known)
        results = [message for message in given if message["role"] == "tool"]
        if any(message.get("content") for message in results):
            without["messages of the role tool"] = ([item for item in given if item["role"] != "tool"], known)
        for name, (fewer, others) in without.items():
            if self._try(fewer, add_generation_prompt, others) == text:
                raise InputError(f"the chat template has no place for {name}; leave them out, or write them as text")
        return text

    def _convert(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message with its content in a form that the template can use."""
        content = message.get("content")
        takes_text, takes_parts = self._forms
        if isinstance(content, str) and takes_parts and not takes_text:
            return {**message, "content": as_parts(content)}
        if isinstance(content, list) and not takes_parts:
            return {**message, "content": as_text(content)}
        return message

    @functools.cached_property
    def _forms(self) -> tuple[bool, bool]:
        """Whether the template can use content as text, and as a list of parts; tried out, as llama.cpp does."""
        of_text = self._try([{"role": "user", "content": _NEEDLE}], True, None) or ""
        of_parts = self._try([{"role": "user", "content": as_parts(_NEEDLE)}], True, None) or ""
        return _NEEDLE in of_text, _NEEDLE in of_parts and not any(printed in of_parts for printed in _PARTS)

    def _try(self, messages: Messages, add_generation_prompt: bool, tools: Tools | None) -> str | None:
        try:
            return self._render(messages, add_generation_prompt, tools)
        except InputError:
            return None

    def _render(self, messages: Messages, add_generation_prompt: bool, tools: Tools | None) -> str:
        variables = dict(self._variables)
        if self._date is not None:
            variables["strftime_now"] = datetime.datetime.combine(self._date, datetime.time()).strftime
        return self.compile().render(
            {
                "messages": [dict(message) for message in messages],
                "tools": None if tools is None else list(tools),
                "documents": None,
                "add_generation_prompt": add_generation_prompt,
                **variables,
            }
        )

    def compile(self) -> ChatTemplate:
        """The template, compiled once; raises ArtifactError when it is malformed."""
        if self._compiled is None:
            try:
                import jinja2  # noqa: F401 - what is missing is named, whatever was imported before

                from edgelora_runtime.chat_template import ChatTemplate
            except ImportError as error:
                raise InputError(f"chat templates need jinja2, which is not installed; {ADVICE}") from error
            self._compiled = ChatTemplate(self.source)
        return self._compiled


def check_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables for a template by name; raises InputError for what is none, or is given in another way."""
    if not isinstance(variables, Mapping):
        raise InputError(f"template is {type(variables).__name__}, expected an object of variables by name")
    for name in variables:
        if not isinstance(name, str) or not is_variable(name):
            raise InputError(
                f"template variable {show(name)} cannot be set; expected a name such as enable_thinking, and none of "
                f"{', '.join(GIVEN_VARIABLES)}, which every template gets"
            )
    return dict(variables)


def parse_date(date: str | datetime.date | None) -> datetime.date | None:
    """A day given as YYYY-MM-DD; raises InputError for any other form."""
    if date is None or isinstance(date, datetime.date):
        return date
    try:
        if len(date) == len("YYYY-MM-DD"):
            return datetime.date.fromisoformat(date)
    except (TypeError, ValueError):
        pass
    raise InputError(f"date is {show(date)}, expected a day as YYYY-MM-DD")


def _leave_out(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != name}
