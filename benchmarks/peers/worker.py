"""A worker as this process sees it: started in its environment, asked one turn at a time, watched while it waits.

Knows nothing about statistics or models.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.turns import Subject
from edgelora.errors import ConfigError


class Worker:
    """A process that runs one engine; ``name`` is what the report calls it."""

    def __init__(self, name: str, python: Path, engine: str, subjects: Sequence[Subject], threads: int) -> None:
        self.name = name
        self.subjects = tuple(subjects)
        command = [str(python), "-m", f"benchmarks.peers.engines.{engine}"]
        # Engines that spin after a run would disturb the next worker's turn; see idle_share in the results.
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        opening = {"threads": threads, "subjects": [dataclasses.asdict(subject) for subject in subjects]}
        found = self.ask(opening)
        self.version: str = found["version"]
        self.load_ms: float = found["load_ms"]

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send one line and wait for its answer; raises ConfigError when the worker ends instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended; what it said before is told below
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise ConfigError(f"the worker of {self.name} ended with {status}; its message is above")
        answer: Mapping[str, Any] = json.loads(line)
        return answer

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        text = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii", errors="replace")
        return cpu_seconds_of(text)

    def close(self) -> None:
        """End its input and wait until it is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=60)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


def cpu_seconds_of(stat: str) -> float:
    """User and system time in a line of ``/proc/PID/stat``; the name in it may hold blanks and brackets."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
