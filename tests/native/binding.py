"""A program that answers through a binding of another language, asked as its README says.

command -> Binding
"""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_SEPARATOR = "\x1e"


class RefusedError(Exception):
    """What the binding refused: the code of ``edgelora.h`` and the message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Told(NamedTuple):
    text: str
    token_ids: list[int]
    finish_reason: str
    prompt_tokens: int
    scores: list[float]


class Binding:
    """The running program; leaving the context ends it and looks at how it ended."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(environment))

    def __enter__(self) -> Binding:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._program.stdin is not None and self._program.stdout is not None
        self._program.stdin.close()
        self._program.stdout.close()
        assert self._program.wait(timeout=60) == 0

    def ask(self, what: str, *fields: str | bytes) -> list[bytes]:
        assert self._program.stdin is not None
        parts = [field if isinstance(field, bytes) else field.encode() for field in (what, *fields)]
        told = struct.pack("<I", len(parts)) + b"".join(struct.pack("<I", len(part)) + part for part in parts)
        self._program.stdin.write(told)
        self._program.stdin.flush()
        found = [self._read(self._size()) for _ in range(self._size())]
        if found[0] == b"ok":
            return found[1:]
        raise RefusedError(int(found[1]), found[2].decode())

    def text(self, what: str, *fields: str | bytes) -> str:
        (found,) = self.ask(what, *fields)
        return found.decode()

    def ids(self, what: str, *fields: str | bytes) -> list[int]:
        return [int(item) for item in self.text(what, *fields).split()]

    def answers(self, what: str, *fields: str | bytes) -> list[Told]:
        return told(self.ask(what, *fields))

    def floats(self, what: str, *fields: str | bytes) -> npt.NDArray[np.float32]:
        return np.stack([np.frombuffer(row, "<f4") for row in self.ask(what, *fields)])

    def _size(self) -> int:
        found: int = struct.unpack("<I", self._read(4))[0]
        return found

    def _read(self, count: int) -> bytes:
        assert self._program.stdout is not None
        found = self._program.stdout.read(count)
        assert len(found) == count, f"the program ended with {self._program.wait(timeout=60)}"
        return found


def told(fields: Sequence[bytes]) -> list[Told]:
    """Five fields for each answer."""
    found = []
    for start in range(0, len(fields), 5):
        text, ids, reason, tokens, scores = (field.decode() for field in fields[start : start + 5])
        numbers = [int(item) for item in ids.split()], reason, int(tokens), [float(item) for item in scores.split()]
        found.append(Told(text, *numbers))
    return found


def pairs(given: Mapping[str, Any]) -> str:
    """Options as a question has them; None is left out, a list has a pair for each item."""
    found = []
    for name, value in given.items():
        for item in value if isinstance(value, list) else [value]:
            found += [] if item is None else [f"{name}={int(item) if isinstance(item, bool) else item}"]
    return _SEPARATOR.join(found)


def conversation(case: Mapping[str, Any]) -> str:
    """A conversation as a conformance case tells it."""
    asked = {"messages": json.dumps(case["messages"]), "date": case.get("date")}
    for name, key in (("tools", "tools"), ("template", "variables")):
        asked[name] = json.dumps(case[key]) if key in case else None
    return pairs({**asked, "no_generation_prompt": not case.get("add_generation_prompt", True)})


def joined(numbers: Sequence[int]) -> str:
    return " ".join(str(number) for number in numbers)
