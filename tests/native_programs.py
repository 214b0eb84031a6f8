"""The programs of the native runtime, built once for all tests that run them.

Knows nothing about what they do. ``EDGELORA_NATIVE_BUILD`` names a folder that is built already, for another machine.
"""

import functools
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "runtime" / "native"


@functools.cache
def native_program(name: str) -> Path:
    """A program or library of the build, made anew where one of its sources has changed."""
    given = os.environ.get("EDGELORA_NATIVE_BUILD")
    folder = Path(given) if given else ROOT / "build" / "native"
    if not given:
        headers = (
            os.environ.get("EDGELORA_ORT_INCLUDE") or _run("node", str(SOURCE / "tools/fetch_headers.mjs")).strip()
        )
        if not (folder / "build.ninja").exists():
            _run("cmake", "-S", str(SOURCE), "-B", str(folder), "-GNinja", f"-DEDGELORA_ORT_INCLUDE={headers}")
        _run("cmake", "--build", str(folder), "--target", name)
    return folder / name


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout
