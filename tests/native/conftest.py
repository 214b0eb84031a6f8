"""Builds the native runtime once, or finds it built, and the library of onnxruntime that the tests run on.

Knows nothing about what is tested.
"""

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.asking import Readers
from tests.native.interface import Library

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "runtime" / "native"


def build(folder: Path, *options: str, target: str = "") -> Path:
    """Build everything, or one target; what is up to date is not built again."""
    environment = {**os.environ, "EDGELORA_TARGET": target}
    done = subprocess.run([NATIVE / "build.sh", folder, *options], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{NATIVE / 'build.sh'} failed\n{(done.stdout + done.stderr)[-4000:]}"
    return folder


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of all that is built; EDGELORA_NATIVE_BUILD names one that was built for another machine."""
    given = os.environ.get("EDGELORA_NATIVE_BUILD")
    return Path(given) if given else build(ROOT / "build" / "native")


@pytest.fixture(scope="session")
def onnxruntime() -> Path:
    """The library of the Python package, which is not imported for it."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None and spec.origin is not None
    (library,) = (Path(spec.origin).parent / "capi").glob("libonnxruntime.so.1.*")
    return library


@pytest.fixture(scope="session")
def library(built: Path, onnxruntime: Path) -> Library:
    return Library(built / "libedgelora.so", onnxruntime)


@pytest.fixture(scope="module")
def readers(built: Path) -> Iterator[Readers]:
    process = Readers(built / "readers")
    yield process
    process.close()
