"""Runs a command in a process of its own and tells what it took.

arguments of python -> seconds, processor seconds, peak memory, what it printed as JSON

The system counts the process's time and peak, so that nothing inside it has to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelora.errors import ConfigError


@dataclass(frozen=True)
class Run:
    """A command in a process of its own."""

    seconds: float
    cpu_seconds: float  # of all its threads, which a busy machine disturbs less
    peak_bytes: int
    output: Mapping[str, Any]  # standard output, one JSON object; empty where there was none


def run_python(*arguments: str) -> Run:
    """Run ``python`` with the arguments; raises ConfigError when it fails, whose message has gone to standard error."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as stream:
        process = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=stream)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode:
            shown = " ".join(arguments)
            raise ConfigError(f"`python {shown}` ended with {process.returncode}; its message is above")
        stream.seek(0)
        printed = stream.read()
    kilo = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * kilo, json.loads(printed or b"{}"))


def run_edgelora(*arguments: str) -> Run:
    """Run a command of ``edgelora`` that was given ``--json``."""
    return run_python("-m", "edgelora", *arguments)
