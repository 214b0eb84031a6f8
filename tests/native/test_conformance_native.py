"""The native runtime against runtime/conformance: the cases of every kind that its program has.

Knows nothing about what the cases hold to; the program prints those that fail.
"""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.native_programs import ROOT, native_program

FOLDER = ROOT / "runtime" / "conformance"
CASES = [
    case
    for file in ("cases.json", "refuse.json")
    for case in json.loads((FOLDER / file).read_text(encoding="utf-8"))["cases"]
]
COUNTS = Counter(case["kind"] for case in CASES)
KINDS = ("adapter_config", "manifest", "pattern", "pcg32", "receipt", "safetensors", "sampler")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(native_program("conformance")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_case_of(kind: str) -> None:
    done = run(str(FOLDER), "--kinds", kind)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    told = re.fullmatch(r"(\d+) cases run, 0 failed, \d+ of other kinds\n", done.stdout)
    assert told is not None, done.stdout
    assert int(told[1]) == COUNTS[kind] > 0


def test_a_case_that_fails_is_told(tmp_path: Path) -> None:
    for name in ("tiny-float/manifest.json", "tiny-float/adapters/one/adapter_config.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    pcg32 = next(case for case in CASES if case["kind"] == "pcg32")
    wrong = {**pcg32, "name": "wrong", "expected": pcg32["expected"][::-1]}
    accepted = {"kind": "manifest", "name": "read", "changes": [], "message_has": "x"}
    other = {"kind": "manifest", "name": "other words", "text": "{", "message_has": "no such words"}
    sound = {"kind": "manifest", "name": "refused", "text": "[", "accepted": True}
    (tmp_path / "cases.json").write_text(json.dumps({"cases": [pcg32, wrong]}))
    (tmp_path / "refuse.json").write_text(json.dumps({"receipt": {}, "cases": [accepted, other, sound]}))
    done = run(str(tmp_path))
    assert done.returncode == 1
    assert [line.split(": ")[:2] for line in done.stdout.splitlines()[:-1]] == [
        ["manifest", "read"], ["manifest", "other words"], ["manifest", "refused"], ["pcg32", "wrong"],
    ]  # fmt: skip
    assert done.stdout.endswith("5 cases run, 4 failed, 0 of other kinds\n")


def test_a_kind_that_it_does_not_have_is_an_error() -> None:
    done = run(str(FOLDER), "--kinds", "pcg32,nothing")
    assert done.returncode == 2
    assert "there is no kind 'nothing'" in done.stderr
