"""The cases of encoders.json, put to a binding of another language.

Binding, a case -> right or AssertionError
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.conformance_check import FOLDER
from tests.native.binding import Binding, RefusedError, joined, pairs
from tests.native.encoder_cases import check, flat
from tests.native.interface import ADAPTER


class BindingEncoderCases:
    """A model stays open while cases of its artifact follow each other; it answers as ``encoder_cases`` asks."""

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.loaded: str | None = None

    def check(self, case: dict[str, Any]) -> None:
        if case["artifact"] != self.loaded:
            self.loaded = case["artifact"]
            assert self.binding.ask("load", str(FOLDER / case["artifact"])) == []
        if case["kind"] == "adapter":
            self.check_adapter(case)
        elif case["kind"] == "refused":
            with pytest.raises(RefusedError) as caught:
                getattr(self, case["method"])(case["texts"], case["adapters"])
            assert case["message_has"] in str(caught.value)
        else:
            check(self, case)

    def check_adapter(self, case: dict[str, Any]) -> None:
        if case["trust"] and case["labels"] is None:  # the programs trust nothing without labels
            return

        def give() -> None:
            given = "given", str(FOLDER / case["folder"])
            if case["labels"] is None:
                self.binding.ask("load_adapter", *given)
            else:
                self.binding.ask("load_adapter_with_labels", *given, str(int(case["trust"])), *case["labels"])
            if case["probe"]:
                self.binding.text("probe", "given")

        try:
            if case.get("accepted"):
                give()
                assert len(json.loads(self.binding.text("labels", "given"))["labels"]) == 3
                return
            with pytest.raises(RefusedError) as caught:
                give()
            assert caught.value.code == ADAPTER
            assert case["message_has"] in str(caught.value)
        finally:
            if "given" in json.loads(self.binding.text("info"))["adapters"]:
                self.binding.ask("unload_adapter", "given")

    def classify(self, texts: list[str], adapter: str | list[str] | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.binding.text("classify", told(adapter), *texts))
        return found

    def classify_pixels(self, pixels: list[float], adapter: str | list[str] | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.binding.text("classify_pixels", told(adapter), packed(pixels)))
        return found

    def classify_each(self, text: str, adapters: list[str] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.binding.text("each", told(adapters), text))
        return found

    def tag(self, texts: list[str], adapter: str | list[str] | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.binding.text("tag", told(adapter), *texts))
        return found

    def embed(self, texts: list[str], adapter: str | list[str] | None = None) -> tuple[list[list[float]], list[bool]]:
        cut, *vectors = self.binding.ask("embed", told(adapter), *texts)
        return [unpacked(row) for row in vectors], [item == "1" for item in cut.decode().split()]

    def outputs(self, rows: list[list[int]], adapter: list[str]) -> list[list[float]]:
        asked = "\n".join(joined(row) for row in rows)
        return [unpacked(row) for row in self.binding.ask("outputs", told(adapter), asked)]

    def outputs_of_pixels(self, images: list[list[float]], adapter: list[str]) -> list[list[float]]:
        asked = told(adapter), str(len(images)), packed(list(flat(images)))
        return [unpacked(row) for row in self.binding.ask("outputs_of_pixels", *asked)]


def told(adapter: str | list[str] | None) -> str:
    return pairs({"adapters" if isinstance(adapter, list) else "adapter": adapter})


def packed(numbers: list[float]) -> bytes:
    return np.array(numbers, "<f4").tobytes()


def unpacked(row: bytes) -> list[float]:
    return list(map(float, np.frombuffer(row, "<f4")))
