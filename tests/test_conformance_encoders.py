"""The Python runtime against runtime/conformance/encoders.json; other languages run the same cases.

Knows nothing about how the cases were made (``tests/conformance_encoders.py``).
"""

import copy
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora_runtime import AdapterError, Classification, EncoderModel, load
from edgelora_runtime.errors import EdgeLoraError
from edgelora_runtime.manifest import parse_manifest
from edgelora_runtime.spans import Tagging

FOLDER = Path(__file__).resolve().parents[1] / "runtime" / "conformance"
FILE = json.loads((FOLDER / "encoders.json").read_text(encoding="utf-8"))
MANIFEST = json.loads((FOLDER / "encoder-topics/manifest.json").read_text(encoding="utf-8"))


@functools.cache
def artifact(name: str) -> EncoderModel:
    task = json.loads((FOLDER / name / "manifest.json").read_text(encoding="utf-8"))["task"]
    return load(FOLDER / name, threads=1, task=task)


@pytest.mark.parametrize("case", FILE["cases"], ids=lambda case: f"{case['artifact']} {case['name']}"[:70])
def test_case(case: dict[str, Any]) -> None:
    globals()[f"check_{case['kind']}"](artifact(case["artifact"]), case)


def check_outputs(model: EncoderModel, case: dict[str, Any]) -> None:
    rows = case.get("input_ids") or np.array(case["pixel_values"], np.float32)
    for found, expected in zip(model.outputs(rows, adapter=case["adapters"]), case["expected"], strict=True):
        np.testing.assert_allclose(found, expected, atol=case["tolerance"])


def check_classify(model: EncoderModel, case: dict[str, Any]) -> None:
    given = case.get("texts") or np.array(case["pixel_values"], np.float32)
    answers = model.classify(given, adapter=case["adapters"])
    for found, expected in zip(answers, case["expected"], strict=True):
        hold(found, expected, case["tolerance"])
    for index, spec in enumerate(case["adapters"]):  # alone as in company
        hold(model.classify(given[index], adapter=spec), case["expected"][index], case["tolerance"])


def check_each(model: EncoderModel, case: dict[str, Any]) -> None:
    found = model.classify_each(case["text"], case["adapters"])
    assert list(found) == case["adapters"]
    for spec, expected in case["expected"].items():
        hold(found[spec], expected, case["tolerance"])


def check_tag(model: EncoderModel, case: dict[str, Any]) -> None:
    for found in (
        model.tag(case["text"], adapter=case["adapter"]),
        model.tag(["my mail", case["text"], ""], adapter=case["adapter"])[1],
    ):
        assert isinstance(found, Tagging)
        assert found.windows == case["expected"]["windows"]
        for span, expected in zip(found.spans, case["expected"]["spans"], strict=True):
            told = {"start": span.start, "end": span.end, "label": span.label, "text": span.text}
            assert told == {key: expected[key] for key in told}
            assert case["text"][span.start : span.end] == span.text
            assert span.score == pytest.approx(expected["score"], abs=case["tolerance"])


def check_embed(model: EncoderModel, case: dict[str, Any]) -> None:
    found = model.embed(case["texts"], adapter=case["adapters"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, case["expected"], atol=case["tolerance"])
    assert model.is_truncated(case["texts"]) == case["truncated"]
    one = model.embed(case["texts"][2], adapter=case["adapters"][2])
    np.testing.assert_allclose(one, case["expected"][2], atol=case["tolerance"])


def check_refused(model: EncoderModel, case: dict[str, Any]) -> None:
    with pytest.raises(EdgeLoraError) as caught:
        getattr(model, case["method"])(case["texts"], adapter=case["adapters"])
    assert case["message_has"] in str(caught.value)


def check_adapter(model: EncoderModel, case: dict[str, Any]) -> None:
    def give() -> None:
        try:
            model.load_adapter("given", FOLDER / case["folder"], labels=case["labels"], trust=case["trust"])
            if case["probe"]:
                model.probe("given")
        finally:
            if "given" in model.adapters:
                model.unload_adapter("given")

    if case.get("accepted"):
        give()
        return
    with pytest.raises(AdapterError) as caught:
        give()
    assert case["message_has"] in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("case", FILE["refuse"], ids=lambda case: case["name"])
def test_manifest(case: dict[str, Any]) -> None:
    data = copy.deepcopy(MANIFEST)
    for change in case["changes"]:
        *path, last = change["at"]
        place: Any = functools.reduce(lambda found, key: found[key], path, data)
        if "put" in change:
            place[last] = change["put"]
        else:
            place[last] = functools.reduce(lambda found, key: found[key], change["copy"], data)
    if case.get("accepted"):
        parse_manifest(json.dumps(data))
        return
    with pytest.raises(EdgeLoraError) as caught:
        parse_manifest(json.dumps(data))
    assert case["message_has"] in str(caught.value)
    assert str(caught.value).isprintable()


def test_adapters_change_the_answers_and_scores_are_probabilities() -> None:
    model = artifact("encoder-topics")
    found = model.classify_each("Anna from New York", ["none", "topics", "more"])
    assert len({tuple(item.scores.values()) for item in found.values()}) == 3
    for item in found.values():
        assert sum(item.scores.values()) == pytest.approx(1)
        assert item.score == max(item.scores.values()) == item.scores[item.label]


def hold(found: Classification, expected: dict[str, Any], tolerance: float) -> None:
    told = {"label": found.label, "labels": list(found.labels), "truncated": found.truncated}
    assert told == {key: expected[key] for key in told}
    assert list(found.scores) == list(expected["scores"])
    assert found.scores == pytest.approx(expected["scores"], abs=tolerance)
