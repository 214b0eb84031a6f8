"""The program ``conformance``: a case that fails is told, and what it cannot run is an error.

Knows nothing about the cases but for those that are wrong on purpose.
"""

import json
import subprocess
from pathlib import Path

from tests.conformance_check import FOLDER, read_cases


def run(built: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([built / "conformance", *map(str, words)], capture_output=True, text=True, check=False)


def test_a_case_that_fails_is_told(built: Path, tmp_path: Path) -> None:
    documents = (
        "tiny-float/manifest.json",
        "tiny-float/adapters/one/adapter_config.json",
        "encoder-topics/manifest.json",
    )
    for name in documents:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    pcg32 = next(case for case in read_cases() if case["kind"] == "pcg32")
    wrong = {**pcg32, "name": "wrong", "expected": pcg32["expected"][::-1]}
    accepted = {"kind": "manifest", "name": "read", "changes": [], "message_has": "x"}
    other = {"kind": "manifest", "name": "other words", "text": "{", "message_has": "no such words"}
    sound = {"kind": "manifest", "name": "refused", "text": "[", "accepted": True}
    (tmp_path / "cases.json").write_text(json.dumps({"cases": [pcg32, wrong]}))
    (tmp_path / "refuse.json").write_text(json.dumps({"receipt": {}, "cases": [accepted, other, sound]}))
    (tmp_path / "encoders.json").write_text(json.dumps({"cases": [], "refuse": []}))
    done = run(built, tmp_path)
    assert done.returncode == 1
    assert [line.split(": ")[:2] for line in done.stdout.splitlines()[:-1]] == [
        ["manifest", "read"], ["manifest", "other words"], ["manifest", "refused"], ["pcg32", "wrong"],
    ]  # fmt: skip
    assert done.stdout.endswith("5 cases run, 4 failed, 0 of other kinds\n")


def test_a_kind_that_it_does_not_have_is_an_error(built: Path) -> None:
    done = run(built, FOLDER, "--kinds", "pcg32,nothing")
    assert done.returncode == 2
    assert "there is no kind 'nothing'" in done.stderr
