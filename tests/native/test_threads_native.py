"""One native model and callers of several threads: answers, cancelling, adapters that come and go, closing."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conformance_check import FOLDER
from tests.native.conftest import ROOT, build

SUPPRESSED = Path(__file__).parent / "races.txt"  # onnxruntime, which is not built to be watched


def check(program: Path, onnxruntime: Path, **environment: str) -> None:
    done = subprocess.run(
        [program, FOLDER],
        capture_output=True,
        text=True,
        env={**os.environ, "EDGELORA_ONNXRUNTIME": str(onnxruntime), **environment},
        check=False,
        timeout=1200,
    )
    assert (done.returncode, done.stdout) == (0, "24 checks, 0 failed\n"), (done.stdout + done.stderr)[-6000:]


def test_calls_of_many_threads(built: Path, onnxruntime: Path) -> None:
    check(built / "calls", onnxruntime)


@pytest.mark.sanitized
def test_calls_of_many_threads_with_the_thread_sanitizer(onnxruntime: Path) -> None:
    folder = build(
        ROOT / "build" / "native-threads",
        "-DEDGELORA_SANITIZE=thread",
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DEDGELORA_PROGRAM=OFF",
        "-DEDGELORA_OPERATORS=OFF",
        target="calls",
    )
    check(folder / "calls", onnxruntime, TSAN_OPTIONS=f"exitcode=66 suppressions={SUPPRESSED}")
