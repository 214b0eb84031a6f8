"""The operators of the native runtime, built once for all tests that load them into onnxruntime.

Knows nothing about what they compute.
"""

import ctypes
import functools
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "runtime" / "native"
BUILD = ROOT / "build" / "ops"


@functools.cache
def operator_library() -> Path:
    """The library as it is built from the sources here, anew where one of them has changed."""
    headers = os.environ.get("EDGELORA_ORT_INCLUDE") or _run("node", str(SOURCE / "tools/fetch_headers.mjs")).strip()
    made = BUILD / "build.ninja"
    if not made.exists():
        _run("cmake", "-S", str(SOURCE / "operator"), "-B", str(BUILD), "-GNinja", f"-DEDGELORA_ORT_INCLUDE={headers}")
    _run("cmake", "--build", str(BUILD))
    return BUILD / "libedgelora_ops.so"


@functools.cache
def paths() -> list[str]:
    """Names of the implementations that this processor can run."""
    library = ctypes.CDLL(str(operator_library()))
    library.edgelora_ops_paths.restype = ctypes.c_char_p
    return str(library.edgelora_ops_paths().decode()).split()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
