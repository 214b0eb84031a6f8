"""The native runtime cross-compiled for aarch64, every conformance case under qemu on two kinds of processor.

Knows nothing about the cases; the program ``conformance`` reads them.
"""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conformance_check import FOLDER
from tests.native.conftest import NATIVE, ROOT
from tests.native.test_conformance import check

FOLDER_OF_ALL = ROOT / "build" / "aarch64"
PROCESSORS = {"cortex-a72": "no dot product", "cortex-a76": "dot product"}


@pytest.fixture(scope="module")
def aarch64() -> Path:
    options = ["-DEDGELORA_OPERATORS=OFF", "-DEDGELORA_PROGRAM=OFF", "-DEDGELORA_PRECOMPILE=ON"]
    command = [NATIVE / "tools" / "aarch64.sh", FOLDER_OF_ALL, *options]
    environment = {**os.environ, "EDGELORA_TARGET": "conformance"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return FOLDER_OF_ALL


@pytest.fixture(scope="module")
def library(aarch64: Path) -> Path:
    """The library of onnxruntime's wheel for aarch64, in the version that is installed here."""
    folder = aarch64 / f"onnxruntime-{version('onnxruntime')}"
    if not folder.exists():
        asked = ["--platform", "manylinux_2_28_aarch64", "--python-version", "3.11", "--only-binary=:all:", "--no-deps"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", aarch64, *asked]
        done = subprocess.run([*command, f"onnxruntime=={version('onnxruntime')}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        (wheel,) = aarch64.glob("onnxruntime-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(aarch64 / "partial")
        wheel.unlink()
        (aarch64 / "partial").rename(folder)
    (found,) = (folder / "onnxruntime" / "capi").glob("libonnxruntime.so.1.*")
    return found


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_case_on_aarch64(processor: str, aarch64: Path, library: Path) -> None:
    command = [
        "qemu-aarch64-static",
        "-cpu",
        processor,
        "-L",
        aarch64 / processor,
        aarch64 / "build" / "conformance",
        FOLDER,
    ]
    environment = {**os.environ, "EDGELORA_ONNXRUNTIME": str(library)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    check(done.stdout)
