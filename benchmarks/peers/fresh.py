"""What only a fresh process shows: time to import and to load, the most memory held, instructions of a step.

Knows nothing about turns. Each program below runs in an interpreter of its own and prints one JSON object.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.turns import CONTEXT, Subject
from benchmarks.peers.worker import Worker
from edgelora.errors import ConfigError

_LOAD = """
import json, sys, time
started = time.perf_counter()
import edgelora_runtime
imported = time.perf_counter()
model = edgelora_runtime.load(sys.argv[1], threads=int(sys.argv[2]), cache=sys.argv[3] or None)
loaded = time.perf_counter()
first = next(iter(model.generate("Once upon a time", adapter="rank-16", raw=True, stream=True, max_new_tokens=32)), "")
print(json.dumps({"import_s": imported - started, "load_s": loaded - imported,
                  "first_text_s": time.perf_counter() - loaded}))
"""
_MEMORY = """
import json, sys
import edgelora_runtime
model = edgelora_runtime.load(sys.argv[1], threads=int(sys.argv[2]), cache=sys.argv[3] or None)
model.generate("Once upon a time", adapter="rank-16", raw=True, max_new_tokens=64)
with open("/proc/self/status", encoding="ascii") as file:
    print(json.dumps({line.split(":")[0]: 1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM")}))
"""
_STEPS = """
import sys
import edgelora_runtime
model = edgelora_runtime.load(sys.argv[1], threads=1)
found = model.generate("Once upon a time", adapter=sys.argv[2], raw=True, max_new_tokens=int(sys.argv[3]))
assert len(found.token_ids) == int(sys.argv[3]), "the answer ended before the steps were done"
"""
# A new process starts with its parent's peak, and the one that measures may have held whole models: a small one goes
# between.
_PEAK = """
import json, os, subprocess, sys, time
started = time.perf_counter()
_, status, usage = os.wait4(subprocess.Popen(sys.argv[1:], stdout=sys.stderr).pid, 0)
peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"status": status, "seconds": time.perf_counter() - started, "peak_bytes": peak}))
"""
_FEW, _MANY = 4, 12  # tokens; the difference of two runs is free of loading


@dataclass(frozen=True)
class Cost:
    """What a command took in a process of its own."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Instructions:
    """Instructions of one decoded token, one thread, as valgrind's processor (AVX2) executes them."""

    engine: int  # inside the libraries of onnxruntime
    own: int  # everything else: Python, numpy, the C library


def run_command(command: Sequence[str]) -> Cost:
    """Run a command, its output on standard error; raises ConfigError when it fails."""
    done = subprocess.run([sys.executable, "-c", _PEAK, *command], stdout=subprocess.PIPE, text=True, check=False)
    found = json.loads(done.stdout) if done.returncode == 0 else {"status": done.returncode}
    if found["status"]:
        raise ConfigError(f"`{' '.join(command)}` failed; its message is above")
    return Cost(found["seconds"], found["peak_bytes"])


def measure_start(artifact: Path, threads: int, repeats: int, cache: Path | None = None) -> Mapping[str, list[float]]:
    """Seconds to import, to load, and to the first text with an adapter, of ``repeats`` fresh processes.

    With ``cache`` (as in ``edgelora_runtime.load``) one more process goes first and fills it.
    """
    arguments = (str(artifact), str(threads), "" if cache is None else str(cache))
    if cache is not None:
        _run(_LOAD, *arguments)
    runs = [_run(_LOAD, *arguments) for _ in range(repeats)]
    return {name: [run[name] for run in runs] for name in runs[0]}


def measure_memory(artifact: Path, threads: int, cache: Path | None = None) -> int:
    """Peak resident bytes of a process that loads the artifact and generates with its adapter."""
    return int(_run(_MEMORY, str(artifact), str(threads), "" if cache is None else str(cache))["VmHWM"])


def measure_peer_memory(name: str, python: Path, engine: str, subject: Subject, threads: int) -> int:
    """The same for a worker with one subject: load, a prompt of CONTEXT tokens, 64 tokens."""
    worker = Worker(name, python, engine, [subject], threads)
    worker.ask({"prefill": CONTEXT, "subject": subject.label})
    worker.ask({"decode": 60, "subject": subject.label})
    peak = int(worker.ask({"extra": "peak bytes"})["values"][0])
    worker.close()
    return peak


def count_instructions(artifact: Path, spec: str) -> Instructions | None:
    """Instructions of a token with callgrind; None where valgrind is not installed."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return None
    few, many = (_callgrind(valgrind, artifact, spec, tokens) for tokens in (_FEW, _MANY))
    engine, own = 0, 0
    for name in few.keys() | many.keys():
        count = many.get(name, 0) - few.get(name, 0)
        if "onnxruntime" in name:
            engine += count
        else:
            own += count
    steps = _MANY - _FEW
    return Instructions(round(engine / steps), round(own / steps))


def instructions_by_object(lines: Iterable[str]) -> dict[str, int]:
    """Self cost of every object (library) in the lines of a ``callgrind.out`` file.

    Format: https://valgrind.org/docs/manual/cl-format.html. A line after ``calls=`` holds the cost of what was called,
    which is counted where it was spent.
    """
    names: dict[str, str] = {}
    found: dict[str, int] = {}
    current = ""
    is_call = False
    for line in lines:
        if line.startswith(("ob=", "cob=")):
            match = re.fullmatch(r"c?ob=(\(\d+\))?\s*(.*)", line.rstrip())
            assert match is not None
            key = match[1] or match[2]
            if match[2]:
                names[key] = match[2]
            if line.startswith("ob="):
                current = names.get(key, key)
        elif line.startswith("calls="):
            is_call = True
        elif line[:1].isdigit() or line[:1] in "+-*":
            if not is_call:
                found[current] = found.get(current, 0) + int(line.split()[1])
            is_call = False
    return found


def _callgrind(valgrind: str, artifact: Path, spec: str, tokens: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable, "-c", _STEPS]
        _check(subprocess.run([*command, str(artifact), spec, str(tokens)], capture_output=True, text=True,
                              env=_environment(), check=False))  # fmt: skip
        with out.open(encoding="utf-8", errors="replace") as lines:
            return instructions_by_object(lines)


def _run(program: str, *arguments: str) -> Mapping[str, Any]:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    _check(done)
    answer: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _check(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError(f"a measuring process ended with {done.returncode}: {last}")


def _environment() -> dict[str, str]:
    # A fixed seed of hashes keeps the instruction counts of two runs comparable; written bytecode is what users have.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment
