"""What an engine answers on its standard input and output: one JSON object a line, one turn at a time.

Knows nothing about engines or statistics, and needs the standard library alone: it runs in every peer's environment.
Between two lines a worker waits in ``readline`` and computes nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CONTEXT = 128  # tokens in the cache before decoding is timed
UNTIMED_STEPS = 4  # tokens decoded before the clock runs: caches and threads are cold after another worker's turn
CAPACITY = 1024  # tokens that every engine has room for

_COMMON_TOKENS = 40_000  # ids below this are words in every vocabulary here
_FIRST_TOKEN = 5  # lower ids may be special


@dataclass(frozen=True)
class Subject:
    """One thing to measure: a model with or without adapters; several adapters mean one for each row of a batch."""

    label: str
    model: str  # a file or folder
    adapters: tuple[str, ...] = ()  # names or files, whatever the engine loads
    twin: bool = False  # keep the graph without slots in memory as well; only our runtime knows it
    operator: str = ""  # libedgelora_ops for the fused graph; only our runtime knows it


@dataclass(frozen=True)
class Opening:
    """What an engine is asked to load before the first turn."""

    threads: int
    subjects: tuple[Subject, ...]


class Engine(Protocol):
    """A loaded engine. Calls come as ``reset``, ``prefill``, then any number of ``step``."""

    version: str

    def reset(self, label: str) -> None:
        """Empty the cache and make the subject's adapter act."""

    def prefill(self, ids: Sequence[int]) -> None:
        """Feed a prompt to every row and choose the likeliest next token."""

    def step(self) -> int:
        """Feed the chosen token of every row, choose the next; returns the one of the first row."""

    def extra(self, name: str) -> list[float]:
        """Milliseconds of something that only this engine does, or other figures; KeyError for an unknown name."""


def prompt(n_tokens: int) -> list[int]:
    """The fixed prompt: the same ids in every run and for every engine."""
    return [_FIRST_TOKEN + (index * 7919 + 104_729) % _COMMON_TOKENS for index in range(n_tokens)]


def serve(open_engine: Callable[[Opening], Engine]) -> None:
    """Answer until the input ends. What engines print goes to standard error; answers alone go to standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    started = time.perf_counter()
    engine = open_engine(_read_opening(json.loads(sys.stdin.readline())))
    _write(answers, {"version": engine.version, "load_ms": 1e3 * (time.perf_counter() - started)})
    for line in sys.stdin:
        _write(answers, answer(engine, json.loads(line)))


def answer(engine: Engine, asked: Mapping[str, object]) -> dict[str, object]:
    """One turn: ``{"prefill": n, "subject": label}``, ``{"decode": n, "subject": label}``, ``{"extra": name}``."""
    if "extra" in asked:
        name = str(asked["extra"])
        return {"values": [float(_peak_bytes())] if name == "peak bytes" else engine.extra(name)}
    label = str(asked["subject"])
    if "prefill" in asked:
        return {"ms": [_time_prefill(engine, label, int(str(asked["prefill"])))]}
    times, tokens = _time_decode(engine, label, int(str(asked["decode"])))
    return {"ms": times, "tokens": tokens}


def _time_prefill(engine: Engine, label: str, n_tokens: int) -> float:
    engine.reset(label)
    ids = prompt(n_tokens)
    started = time.perf_counter()
    engine.prefill(ids)
    return 1e3 * (time.perf_counter() - started)


def _time_decode(engine: Engine, label: str, n_tokens: int) -> tuple[list[float], list[int]]:
    engine.reset(label)
    engine.prefill(prompt(CONTEXT))
    tokens = [engine.step() for _ in range(UNTIMED_STEPS)]
    times = []
    for _ in range(n_tokens):
        started = time.perf_counter()
        tokens.append(engine.step())
        times.append(1e3 * (time.perf_counter() - started))
    return times, tokens


def _read_opening(line: Mapping[str, object]) -> Opening:
    subjects = line["subjects"]
    assert isinstance(subjects, list)
    return Opening(
        int(str(line["threads"])),
        tuple(Subject(item["label"], item["model"], tuple(item["adapters"]), bool(item["twin"])) for item in subjects),
    )


def _peak_bytes() -> int:
    """The most memory that this process ever held; ru_maxrss would count what its parent held as well."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


def _write(answers: object, line: Mapping[str, object]) -> None:
    print(json.dumps(line), file=answers, flush=True)  # type: ignore[call-overload]
