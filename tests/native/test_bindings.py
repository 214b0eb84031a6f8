"""The bindings of other languages: each answers every conformance case through its own public classes.

Knows nothing about the languages but how their programs are built and started.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance_check import FOLDER, read_cases
from tests.native.binding import Binding
from tests.native.binding_cases import BindingCases
from tests.native.binding_encoder_cases import BindingEncoderCases
from tests.native.binding_programs import ASKED, HANDLING
from tests.native.encoder_cases import FILE as ENCODERS
from tests.test_refuse import FILE


@pytest.fixture(scope="module")
def environment(built: Path, onnxruntime: Path) -> dict[str, str]:
    folders = {"EDGELORA_LIBRARY_DIR": str(built), "LD_LIBRARY_PATH": str(built)}
    return {**os.environ, **folders, "EDGELORA_ONNXRUNTIME": str(onnxruntime)}


@pytest.fixture(scope="module", params=ASKED)
def binding(request: pytest.FixtureRequest, built: Path, environment: dict[str, str]) -> Iterator[Binding]:
    with Binding(ASKED[request.param](built), environment) as found:
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


def test_every_case_of_encoders(binding: Binding) -> None:
    cases = BindingEncoderCases(binding)
    for case in ENCODERS["cases"]:
        try:
            cases.check(case)
        except AssertionError as error:
            raise AssertionError(f"{case['artifact']} {case['name']}: {error}") from error


@pytest.mark.parametrize("language", HANDLING)
def test_what_a_binding_adds(language: str, built: Path, environment: dict[str, str]) -> None:
    """Listeners that throw, handles that are closed, texts that are no Unicode, threads."""
    command = [*HANDLING[language](built), str(FOLDER / "tiny-float")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), (done.stdout + done.stderr)[-4000:]
