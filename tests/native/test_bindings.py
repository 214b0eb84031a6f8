"""The bindings of other languages: each answers every conformance case through its own public classes.

Knows nothing about the languages but how their programs are built and started.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conformance_check import read_cases
from tests.native.binding import Binding
from tests.native.binding_cases import BindingCases
from tests.native.conftest import NATIVE, ROOT
from tests.test_refuse import FILE

BINDINGS = NATIVE / "bindings"


def run(command: Sequence[str | Path], **environment: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture(scope="module")
def environment(built: Path, onnxruntime: Path) -> dict[str, str]:
    folders = {"EDGELORA_LIBRARY_DIR": str(built), "LD_LIBRARY_PATH": str(built)}
    return {**os.environ, **folders, "EDGELORA_ONNXRUNTIME": str(onnxruntime)}


def build_rust(built: Path) -> list[str | Path]:
    target = ROOT / "build" / "bindings" / "rust"
    options = ("--offline", "--manifest-path", BINDINGS / "rust" / "Cargo.toml", "--target-dir", target)
    run(["cargo", "build", "--examples", *options], EDGELORA_LIBRARY_DIR=str(built), RUSTFLAGS="-D warnings")
    return [target / "debug" / "examples" / "asked"]


BUILDERS = {"rust": build_rust}


@pytest.fixture(scope="module", params=BUILDERS)
def binding(request: pytest.FixtureRequest, built: Path, environment: dict[str, str]) -> Iterator[Binding]:
    with Binding(BUILDERS[request.param](built), environment) as found:
        yield found


def test_every_case(binding: Binding) -> None:
    cases = BindingCases(binding)
    for case in read_cases():
        try:
            cases.check(case)
        except AssertionError as error:
            raise AssertionError(f"{case.get('artifact', '')} {case['name']}: {error}") from error


def test_every_file_that_must_be_refused(binding: Binding) -> None:
    cases = BindingCases(binding)
    for case in FILE["cases"]:
        try:
            cases.refuse(case)
        except AssertionError as error:
            raise AssertionError(f"{case['kind']} {case['name']}: {error}") from error
