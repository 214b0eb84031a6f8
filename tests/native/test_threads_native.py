"""One native model and callers of several threads: answers, cancelling, adapters that come and go, closing."""

import os
import subprocess
from pathlib import Path

from tests.conformance_check import FOLDER


def test_calls_of_many_threads(built: Path, onnxruntime: Path) -> None:
    done = subprocess.run(
        [built / "calls", FOLDER],
        capture_output=True,
        text=True,
        env={**os.environ, "EDGELORA_ONNXRUNTIME": str(onnxruntime)},
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, "24 checks, 0 failed\n"), done.stdout + done.stderr
