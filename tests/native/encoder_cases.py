"""The cases of encoders.json through the C interface, or a binding that answers like it, with models kept open.

Knows nothing about C++.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from tests.conformance_check import FOLDER

FILE: dict[str, Any] = json.loads((FOLDER / "encoders.json").read_text(encoding="utf-8"))


class Encoding(Protocol):
    """What the cases need of a model, however it is called."""

    def classify(self, texts: list[str], adapter: str | list[str] | None = ...) -> list[dict[str, Any]]: ...
    def classify_pixels(self, pixels: list[float], adapter: str | list[str] | None = ...) -> list[dict[str, Any]]: ...
    def classify_each(self, text: str, adapters: list[str] | None = ...) -> dict[str, Any]: ...
    def tag(self, texts: list[str], adapter: str | list[str] | None = ...) -> list[dict[str, Any]]: ...
    def embed(
        self, texts: list[str], adapter: str | list[str] | None = ...
    ) -> tuple[list[list[float]], list[bool]]: ...
    def outputs(self, rows: list[list[int]], adapter: list[str]) -> list[list[float]]: ...
    def outputs_of_pixels(self, images: list[list[float]], adapter: list[str]) -> list[list[float]]: ...


def check(model: Encoding, case: dict[str, Any]) -> None:
    """Hold one case to what it expects; those of kind adapter and refused are about errors, and not for this."""
    globals()[f"check_{case['kind']}"](model, case)


def check_outputs(model: Encoding, case: dict[str, Any]) -> None:
    if "pixel_values" in case:
        found = model.outputs_of_pixels([list(flat(image)) for image in case["pixel_values"]], case["adapters"])
    else:
        found = model.outputs(case["input_ids"], case["adapters"])
    for row, expected in zip(found, case["expected"], strict=True):
        assert row == pytest.approx(list(flat(expected)), abs=case["tolerance"])


def check_classify(model: Encoding, case: dict[str, Any]) -> None:
    if "pixel_values" in case:
        found = model.classify_pixels(list(flat(case["pixel_values"])), case["adapters"])
    else:
        found = model.classify(case["texts"], case["adapters"])
        for text, spec, expected in zip(case["texts"], case["adapters"], case["expected"], strict=True):
            hold(model.classify([text], spec)[0], expected, case["tolerance"])
    for one, expected in zip(found, case["expected"], strict=True):
        hold(one, expected, case["tolerance"])


def check_each(model: Encoding, case: dict[str, Any]) -> None:
    found = model.classify_each(case["text"], case["adapters"])
    assert list(found) == case["adapters"]
    for spec, expected in case["expected"].items():
        hold(found[spec], expected, case["tolerance"])


def check_tag(model: Encoding, case: dict[str, Any]) -> None:
    for found in (
        model.tag([case["text"]], case["adapter"])[0],
        model.tag(["my mail", case["text"], ""], case["adapter"])[1],
    ):
        assert found["windows"] == case["expected"]["windows"]
        scores = [span.pop("score") for span in found["spans"]]
        assert scores == pytest.approx([span["score"] for span in case["expected"]["spans"]], abs=case["tolerance"])
        told = [{key: span[key] for key in span if key != "score"} for span in case["expected"]["spans"]]
        assert found["spans"] == told


def check_embed(model: Encoding, case: dict[str, Any]) -> None:
    vectors, cut = model.embed(case["texts"], case["adapters"])
    for found, expected in zip(vectors, case["expected"], strict=True):
        assert found == pytest.approx(expected, abs=case["tolerance"])
    assert cut == case["truncated"]


def hold(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """A label with its scores."""
    for key in ("label", "labels", "truncated"):
        assert found[key] == expected[key]
    assert list(found["scores"]) == list(expected["scores"])
    assert found["scores"] == pytest.approx(expected["scores"], abs=tolerance)
    assert found["score"] == found["scores"][found["label"]]


def flat(value: Any) -> Iterator[float]:
    """The numbers of nested lists."""
    if isinstance(value, list):
        for item in value:
            yield from flat(item)
    else:
        yield value
