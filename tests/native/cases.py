"""The conformance cases of every kind through the C interface, with the models they need kept open.

Knows nothing about C++; ``interface.py`` calls the shared library through ctypes.
"""

from __future__ import annotations

from ctypes import byref, c_float, c_int32, c_size_t, c_uint32, c_uint64
from typing import Any

import pytest

from tests.conformance_check import FOLDER, WRONG
from tests.native.interface import UNSUPPORTED, Library, Model, NativeError, int32s, on_text


class Cases:
    """One method for each kind of ``cases.json``; a model stays open for all cases of its artifact."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.models: dict[str, Model] = {}

    def model(self, case: dict[str, Any]) -> Model:
        name = case["artifact"]
        if name not in self.models:
            self.models[name] = self.library.load(FOLDER / name, hashes=int(name != WRONG))
        return self.models[name]

    def pcg32(self, case: dict[str, Any]) -> None:
        numbers = (c_uint32 * len(case["expected"]))()
        self.library["random"](c_uint64(case["seed"]), c_uint64(case["stream"]), numbers, c_size_t(len(numbers)))
        assert list(numbers) == case["expected"]

    def sampler(self, case: dict[str, Any]) -> None:
        rows, prompt = case["logits"], case["prompt_ids"]
        flat = (c_float * (len(rows) * len(rows[0])))(*(value for row in rows for value in row))
        found = (c_int32 * len(rows))()
        options = self.library.options(**case["sampling"])
        sizes = c_size_t(len(rows)), c_size_t(len(rows[0]))
        given = int32s(prompt), c_size_t(len(prompt)), c_size_t(case["row"]), byref(options)
        self.library.call("sample", flat, *sizes, *given, found)
        assert list(found) == case["expected"]

    def render(self, case: dict[str, Any]) -> None:
        source, told = case["template"].encode(), self.library.conversation(case)
        try:
            found = self.library.text("render_template", source, c_size_t(len(source)), byref(told))
        except NativeError as error:
            assert case.get("message_has", "") in str(error)
            assert "message_has" in case or (case.get("may_refuse") and error.code == UNSUPPORTED), str(error)
            return
        assert found == case.get("expected_text")

    def encode(self, case: dict[str, Any]) -> None:
        found = self.model(case).encode(case["text"], case["special"])
        assert found == case["expected_ids"]
        assert self.model(case).decode(found) == case["expected_text"]

    def chat(self, case: dict[str, Any]) -> None:
        model, told = self.model(case), self.library.conversation(case)
        found = self.library.text("render", model.handle, byref(told))
        assert found == case["expected_text"]
        assert model.encode(found, special=False) == case["expected_ids"]

    def after(self, case: dict[str, Any]) -> None:
        prompt, text = case["prompt"].encode(), case["text"].encode()
        given = prompt, c_size_t(len(prompt)), text, c_size_t(len(text)), c_int32(case["special"])
        assert self.library.ids("encode_after", self.model(case).handle, *given) == case["expected_ids"]

    def answer(self, case: dict[str, Any]) -> None:
        answer, told = case["answer"].encode(), self.library.conversation(case)
        given = byref(told), answer, c_size_t(len(answer))
        assert self.library.ids("encode_answer", self.model(case).handle, *given) == case["expected_ids"]

    def logits(self, case: dict[str, Any]) -> None:
        rows = self.model(case).logits(case["input_ids"], case["adapter"], case["positions"])
        for found, expected in zip(rows, case["expected"], strict=True):
            assert [found[column] for column in case["columns"]] == pytest.approx(expected, abs=case["tolerance"])
        assert [row.index(max(row)) for row in rows] == case["expected_argmax"]

    def tokens(self, case: dict[str, Any]) -> None:
        options = {"adapter": case["adapter"], "max_new_tokens": case["max_new_tokens"], **case["sampling"]}
        (found,) = self.model(case).generate_ids([case["input_ids"]], **options)
        assert found.token_ids == case["expected_ids"]
        assert found.prompt_tokens == len(case["input_ids"])

    def batch(self, case: dict[str, Any]) -> None:
        options = {"adapters": case["adapters"], "max_new_tokens": case["max_new_tokens"], **case["sampling"]}
        found = self.model(case).generate_ids(case["input_ids"], **options)
        assert [answer.token_ids for answer in found] == case["expected_ids"]

    def choices(self, case: dict[str, Any]) -> None:
        options = {"adapter": case["adapter"], "raw": case["raw"], "choices": case["choices"]}
        found = self.model(case).generate(case["prompt"], **options)
        assert (found.text, found.finish_reason) == (case["expected_text"], "choice")
        assert found.scores == pytest.approx(case["expected_scores"], abs=case["tolerance"])

    def text(self, case: dict[str, Any]) -> None:
        options = {"adapter": case["adapter"], "raw": case["raw"], "max_new_tokens": case["max_new_tokens"]}
        options |= {"stop": case["stop"], **case["sampling"]}
        found = self.model(case).generate(case["prompt"], **options)
        assert (found.text, found.token_ids, found.finish_reason, found.prompt_tokens) == (
            case["expected_text"],
            case["expected_ids"],
            case["expected_reason"],
            case["expected_prompt_tokens"],
        )
        pieces: list[str] = []
        take = on_text(lambda row, piece: pieces.append(piece) is None and row == 0)
        assert self.model(case).generate(case["prompt"], on_text=take, **options) == found
        assert "".join(pieces) == case["expected_text"] and all(pieces)

    def error(self, case: dict[str, Any]) -> None:
        with pytest.raises(NativeError) as caught:
            self.model(case).generate_ids([case["input_ids"]], adapter=case["adapter"])
        assert case["message_has"] in str(caught.value)
