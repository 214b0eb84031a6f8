"""Reads the shapes of other trainers' data, Alpaca and ShareGPT, as the messages that they stand for.

record -> messages

What no message may be is left to the check that all conversations go through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelora_runtime.errors import InputError
from edgelora_runtime.parse_json import show

_ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


def read_alpaca(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Messages of ``{"instruction", "input", "output"}``: the input stands on the next line of the question."""
    if data.get("history"):
        raise InputError("holds history, earlier turns beside the instruction; write the row as messages")
    instruction, output = (_read_text(data, key) for key in ("instruction", "output"))
    given = data.get("input")
    if given is not None and not isinstance(given, str):
        raise InputError(f"input is {show(given)}, expected text")
    question = f"{instruction}\n{given}" if given and given.strip() else instruction
    return [*_read_system(data), {"role": "user", "content": question}, {"role": "assistant", "content": output}]


def read_sharegpt(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Messages of ``{"conversations": [{"from", "value"}, ...]}``."""
    turns = data["conversations"]
    if not isinstance(turns, list) or not turns:
        raise InputError(f"conversations is {show(turns)}, expected a list of at least one {{'from', 'value'}}")
    messages = [_read_turn(index, turn) for index, turn in enumerate(turns)]
    system = _read_system(data)
    if system and messages[0]["role"] == "system":
        raise InputError("holds a system text and a first turn from system; leave one out")
    return [*system, *messages]


def _read_turn(index: int, turn: object) -> dict[str, Any]:
    if isinstance(turn, Mapping) and "from" not in turn and "value" not in turn and "role" in turn:
        return dict(turn)  # messages under the name of ShareGPT are common too
    if not isinstance(turn, Mapping) or not isinstance(turn.get("value"), str):
        raise InputError(f"turn {index} is {show(turn)}, expected {{'from', 'value'}}, both text")
    role = turn.get("from")
    if not isinstance(role, str) or role not in _ROLES:
        raise InputError(f"turn {index} is from {show(role)}, expected one of {', '.join(_ROLES)}")
    weight = {"weight": turn["weight"]} if turn.get("weight") is not None else {}
    return {"role": _ROLES[role], "content": turn["value"], **weight}


def _read_text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key} is missing, empty or no string")
    return value


def _read_system(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    system = data.get("system")
    if system is not None and not isinstance(system, str):
        raise InputError(f"system is {show(system)}, expected text")
    return [{"role": "system", "content": system}] if system and system.strip() else []
