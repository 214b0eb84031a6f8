"""The conformance cases in C++: as the runtime is shipped, and watched by sanitizers.

Knows nothing about the cases; the program ``conformance`` reads them.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conformance_check import FOLDER, read_cases
from tests.native.conftest import ROOT, build
from tests.test_refuse import FILE


def run(program: Path, onnxruntime: Path) -> str:
    done = subprocess.run(
        [program, FOLDER],
        capture_output=True,
        text=True,
        env={**os.environ, "EDGELORA_ONNXRUNTIME": str(onnxruntime)},
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def check(told: str) -> None:
    found = re.search(r"(\d+) cases run, 0 failed, 0 of other kinds", told)
    assert found is not None, told[-2000:]
    encoders = json.loads((FOLDER / "encoders.json").read_text(encoding="utf-8"))
    others = (FILE["cases"], FILE["lines"], encoders["cases"], encoders["refuse"])
    assert int(found[1]) == len(read_cases()) + sum(map(len, others))


def test_every_case(built: Path, onnxruntime: Path) -> None:
    check(run(built / "conformance", onnxruntime))


@pytest.mark.sanitized
def test_every_case_with_address_and_undefined_behaviour_sanitizers(onnxruntime: Path) -> None:
    folder = build(
        ROOT / "build" / "native-sanitized",
        "-DEDGELORA_SANITIZE=address,undefined",
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS_DEBUG=",
        "-DEDGELORA_PROGRAM=OFF",
        "-DEDGELORA_OPERATORS=OFF",
        target="conformance",
    )
    check(run(folder / "conformance", onnxruntime))
