"""What a conversation may be: messages with text or text parts, tool calls, and the tools offered beside them.

messages and tools of a caller -> the same, checked

Training rows and calls of the runtime are held to the same rules, in the same words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgelora_runtime.errors import InputError
from edgelora_runtime.parse_json import show

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]
Parts = Sequence[Mapping[str, Any]]

_ROW = "expected {'role', 'content'}"


def check_messages(messages: Messages) -> list[dict[str, Any]]:
    """The messages as plain dictionaries, without keys that say nothing; raises InputError naming what is wrong.

    Content is text or a list of text parts; a message with ``tool_calls`` may have none.
    """
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence) or not messages:
        raise InputError(f"messages is {show(messages)}, expected a list of at least one {{'role', 'content'}}")
    return [_check_message(index, message) for index, message in enumerate(messages)]


def check_tools(tools: Tools | str) -> list[dict[str, Any]]:
    """The tools as plain dictionaries; data sets may hold them as the text of a JSON list."""
    given: Any = tools
    if isinstance(tools, str):
        try:
            given = json.loads(tools)
        except (ValueError, RecursionError):
            given = tools
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise InputError(f"tools is {show(given)}, expected a list of JSON objects, each with the schema of a function")
    for index, tool in enumerate(given):
        if not isinstance(tool, Mapping):
            raise InputError(f"tool {index} is {show(tool)}, expected the JSON schema of a function")
    return [dict(tool) for tool in given]


def as_text(content: str | Parts | None) -> str:
    """Content as one text: parts are joined with line breaks, as the servers do that feed templates which want text."""
    if content is None:
        return ""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def as_parts(content: str) -> list[dict[str, Any]]:
    """Content as a list of one text part."""
    return [{"type": "text", "text": content}]


def _check_message(index: int, message: object) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise InputError(f"message {index} is {show(message)}, {_ROW}")
    # Tables with a column for every key write null where a row has none.
    checked = {key: value for key, value in message.items() if value is not None or key == "content"}
    calls, content = checked.get("tool_calls"), checked.get("content")
    if calls is not None and not _is_list_of_objects(calls):
        raise InputError(f"message {index}: tool_calls is {show(calls)}, expected a list of JSON objects")
    if isinstance(calls, Sequence) and not calls:
        del checked["tool_calls"]
    if content is None:
        if calls:
            return checked
        found = "None" if "content" in message else "missing"
        raise InputError(f"message {index}: content is {found}, expected text; leave the message out, or give it text")
    if isinstance(content, str):
        return checked
    if isinstance(content, (bytes, Mapping)) or not isinstance(content, Sequence):
        raise InputError(f"message {index}: content is {show(content)}, expected text or a list of text parts")
    return {**checked, "content": [_check_part(index, number, part) for number, part in enumerate(content)]}


def _check_part(index: int, number: int, part: object) -> dict[str, Any]:
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise InputError(f"message {index}: part {number} is {show(part)}, expected {{'type': 'text', 'text': ...}}")
    if part["type"] != "text":
        raise InputError(f"message {index}: part {number} is of type {part['type']!r}; the model reads text alone")
    if not isinstance(part.get("text"), str):
        raise InputError(f"message {index}: part {number} has the text {show(part.get('text'))}, expected a string")
    return {key: value for key, value in part.items() if value is not None}


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(item, Mapping) for item in value)
