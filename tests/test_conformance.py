"""The Python runtime against runtime/conformance; other languages run the same cases.json.

Knows nothing about how the cases were made (``tests/conformance_build.py``).
"""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora_runtime import EdgeLoraError, Generation, Model, load
from edgelora_runtime.sampling import Pcg32, Sampler, SamplingOptions
from tests.conformance_text import render

FOLDER = Path(__file__).resolve().parents[1] / "runtime" / "conformance"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))["cases"]
        metafunc.parametrize("case", cases, ids=lambda case: f"{case.get('artifact', '')} {case['name']}"[:70])


@functools.cache
def artifact(name: str) -> Model:
    """One model for all its cases, so that nothing may remain from one case to the next."""
    return load(FOLDER / name, hashes=True)


def test_case(case: dict[str, Any]) -> None:
    globals()[f"check_{case['kind']}"](case)


def check_pcg32(case: dict[str, Any]) -> None:
    generator = Pcg32(case["seed"], case["stream"])
    assert [generator.next_uint32() for _ in case["expected"]] == case["expected"]


def check_sampler(case: dict[str, Any]) -> None:
    sampler = Sampler(SamplingOptions(**case["sampling"]), case["prompt_ids"], case["row"])
    assert [sampler.choose(np.array(row, np.float32)) for row in case["logits"]] == case["expected"]


def check_encode(case: dict[str, Any]) -> None:
    tokenizer = artifact(case["artifact"]).tokenizer
    assert tokenizer is not None
    ids = tokenizer.encode(case["text"], case["special"])
    assert ids == case["expected_ids"]
    assert tokenizer.decode(ids) == case["expected_text"]


def check_chat(case: dict[str, Any]) -> None:
    tokenizer = artifact(case["artifact"]).tokenizer
    assert tokenizer is not None
    assert tokenizer.render(case["messages"], case["add_generation_prompt"]) == case["expected_text"]
    assert tokenizer.encode_chat(case["messages"], case["add_generation_prompt"]) == case["expected_ids"]


def check_render(case: dict[str, Any]) -> None:
    if "message_has" not in case:
        assert render(case) == case["expected_text"]
        return
    with pytest.raises(EdgeLoraError) as caught:
        render(case)
    assert case["message_has"] in str(caught.value)


def check_after(case: dict[str, Any]) -> None:
    tokenizer = artifact(case["artifact"]).tokenizer
    assert tokenizer is not None
    assert tokenizer.encode_after(case["prompt"], case["text"], case["special"]) == case["expected_ids"]


def check_answer(case: dict[str, Any]) -> None:
    tokenizer = artifact(case["artifact"]).tokenizer
    assert tokenizer is not None
    assert tokenizer.encode_answer(case["messages"], case["answer"]) == case["expected_ids"]


def check_logits(case: dict[str, Any]) -> None:
    found = artifact(case["artifact"]).logits(case["input_ids"], adapter=case["adapter"], positions=case["positions"])
    np.testing.assert_allclose(found[:, case["columns"]], case["expected"], atol=case["tolerance"], rtol=0)
    assert found.argmax(axis=1).tolist() == case["expected_argmax"]


def check_tokens(case: dict[str, Any]) -> None:
    found = artifact(case["artifact"]).generate_ids(
        case["input_ids"], adapter=case["adapter"], max_new_tokens=case["max_new_tokens"], **case["sampling"]
    )
    assert found == case["expected_ids"]


def check_batch(case: dict[str, Any]) -> None:
    found = artifact(case["artifact"]).generate_ids(
        case["input_ids"], adapter=case["adapters"], max_new_tokens=case["max_new_tokens"], **case["sampling"]
    )
    assert found == case["expected_ids"]


def check_choices(case: dict[str, Any]) -> None:
    found = artifact(case["artifact"]).generate(
        case["prompt"], raw=case["raw"], adapter=case["adapter"], choices=case["choices"]
    )
    assert found.text == case["expected_text"]
    np.testing.assert_allclose(found.choice_scores, case["expected_scores"], atol=case["tolerance"], rtol=0)


def check_text(case: dict[str, Any]) -> None:
    model = artifact(case["artifact"])
    options = {"max_new_tokens": case["max_new_tokens"], "stop": case["stop"], **case["sampling"]}
    found = model.generate(case["prompt"], raw=case["raw"], adapter=case["adapter"], **options)
    assert found == Generation(
        case["expected_text"], tuple(case["expected_ids"]), case["expected_reason"], case["expected_prompt_tokens"]
    )
    pieces = list(model.generate(case["prompt"], raw=case["raw"], adapter=case["adapter"], stream=True, **options))
    assert "".join(pieces) == case["expected_text"]
    assert all(pieces)


def check_error(case: dict[str, Any]) -> None:
    with pytest.raises(EdgeLoraError) as caught:
        artifact(case["artifact"]).generate_ids(case["input_ids"], adapter=case["adapter"])
    assert case["message_has"] in str(caught.value)


def test_artifacts_are_small_and_every_kind_is_there() -> None:
    sizes = {
        folder.name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in FOLDER.glob("tiny-*")
    }
    assert len(sizes) == 6
    assert max(sizes.values()) < 300_000
    cases = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))["cases"]
    assert {case["kind"] for case in cases} == {
        name.removeprefix("check_") for name in globals() if name.startswith("check_")
    }
    names = [(case.get("artifact"), case["name"]) for case in cases]
    assert len(set(names)) == len(names)


def test_answers_are_not_degenerate_and_adapters_change_them() -> None:
    cases = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))["cases"]
    greedy = [case for case in cases if case["kind"] == "tokens" and not case["sampling"]]
    assert np.mean([len(set(case["expected_ids"])) for case in greedy]) > 8
    model = artifact("tiny-int4")
    answers = [model.generate_ids([7, 8, 9], adapter=spec, max_new_tokens=12) for spec in ("none", *model.adapters)]
    assert len({tuple(answer) for answer in answers}) == len(answers)
