"""The Python runtime against runtime/conformance; other languages run the same cases.json.

Knows nothing about how the cases were made (``tests/conformance_build.py``).
"""

from typing import Any

import numpy as np
import pytest

from tests import conformance_check
from tests.conformance_check import FOLDER, artifact, check, read_cases


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", read_cases(), ids=lambda case: f"{case.get('artifact', '')} {case['name']}"[:70])


def test_case(case: dict[str, Any]) -> None:
    check(case)


def test_artifacts_are_small_and_every_kind_is_there() -> None:
    sizes = {
        folder.name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in FOLDER.glob("tiny-*")
    }
    assert len(sizes) == 11
    assert max(sizes.values()) < 300_000
    cases = read_cases()
    assert {case["kind"] for case in cases} == {
        name.removeprefix("check_") for name in vars(conformance_check) if name.startswith("check_")
    }
    names = [(case.get("artifact"), case["name"]) for case in cases]
    assert len(set(names)) == len(names)


def test_answers_are_not_degenerate_and_adapters_change_them() -> None:
    cases = read_cases()
    greedy = [case for case in cases if case["kind"] == "tokens" and not case["sampling"]]
    assert np.mean([len(set(case["expected_ids"])) for case in greedy]) > 8
    model = artifact("tiny-int4")
    answers = [model.generate_ids([7, 8, 9], adapter=spec, max_new_tokens=12) for spec in ("none", *model.adapters)]
    assert len({tuple(answer) for answer in answers}) == len(answers)
