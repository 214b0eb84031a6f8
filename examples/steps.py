"""Runs commands of ``edgelora`` one after the other, and takes up again what an earlier run left.

Step -> seconds of each

Knows nothing about what the commands make.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora_runtime.files import write_atomically


class DemoError(Exception):
    """A step failed; the step has already said why."""


@dataclass(frozen=True)
class Step:
    """One command. It is done when ``product`` exists and was made by the same command line."""

    name: str
    arguments: tuple[str, ...]
    product: Path
    keeps_output: bool = False  # standard output is the product
    resumes: bool = False  # a half-finished product is taken up with --resume


def run_steps(steps: Sequence[Step], log: Path, run: Callable[[Sequence[str], Path | None], None]) -> dict[str, float]:
    """Run what is not done yet; after a step that ran, everything but training runs again. Returns seconds by step.

    ``log`` remembers the command line of every finished step and how long it took.
    """
    done: dict[str, Any] = json.loads(log.read_text(encoding="utf-8")) if log.is_file() else {}
    fresh = False
    for step in steps:
        record = done.get(step.name, {})
        same = record.get("arguments") == list(step.arguments)
        if same and record["seconds"] is not None and step.product.exists() and (step.resumes or not fresh):
            print(f"\n= {step.name}: done before")
            continue
        # A training that the same command began and did not end is taken up where it stopped.
        extra = ["--resume"] if step.resumes and same else []
        extra += ["--overwrite"] if step.resumes and step.product.exists() else []
        print(f"\n= {step.name}\n$ edgelora {shlex.join([*step.arguments, *extra])}", flush=True)
        done[step.name] = {"arguments": list(step.arguments), "seconds": None}
        write_atomically(log, json.dumps(done, indent=1))
        started = time.monotonic()
        run((*step.arguments, *extra), step.product if step.keeps_output else None)
        fresh = True
        done[step.name] = {"arguments": list(step.arguments), "seconds": round(time.monotonic() - started, 1)}
        write_atomically(log, json.dumps(done, indent=1))
    return {step.name: done[step.name]["seconds"] for step in steps}


def run_edgelora(arguments: Sequence[str], output: Path | None) -> None:
    """Run one command; its standard output goes to ``output`` where one is given. Raises DemoError when it fails."""
    command = [sys.executable, "-m", "edgelora", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if output else None, check=False)
    if done.returncode != 0:
        if output is not None:
            sys.stderr.write(done.stdout.decode("utf-8", "replace"))
        raise DemoError(f"`edgelora {shlex.join(arguments)}` ended with {done.returncode}; its message is above")
    if output is not None:
        write_atomically(output, done.stdout.decode("utf-8"))
