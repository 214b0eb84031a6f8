"""The conformance cases of every kind, put to a binding of another language.

Binding, a case -> right or AssertionError
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conformance_check import FOLDER
from tests.native.binding import Binding, RefusedError, conversation, joined, pairs, told
from tests.native.interface import UNSUPPORTED
from tests.test_refuse import LONGEST_LINE, content_of


class BindingCases:
    """One method for each kind; a model stays open while cases of its artifact follow each other."""

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.loaded: str | None = None

    def check(self, case: dict[str, Any]) -> None:
        if "artifact" in case and case["artifact"] != self.loaded:
            self.loaded = case["artifact"]
            assert self.binding.ask("load", str(FOLDER / case["artifact"])) == []
        getattr(self, case["kind"])(case)

    def pcg32(self, case: dict[str, Any]) -> None:
        asked = case["seed"], case["stream"], len(case["expected"])
        assert self.binding.ids("random", joined(asked)) == case["expected"]

    def sampler(self, case: dict[str, Any]) -> None:
        rows = [np.array(row, "<f4").tobytes() for row in case["logits"]]
        asked = joined(case["prompt_ids"]), str(case["row"]), pairs(case["sampling"])
        assert self.binding.ids("sample", *asked, *rows) == case["expected"]

    def render(self, case: dict[str, Any]) -> None:
        try:
            found = self.binding.text("render_template", case["template"], conversation(case))
        except RefusedError as error:
            assert case.get("message_has", "") in str(error)
            assert "message_has" in case or (case.get("may_refuse") and error.code == UNSUPPORTED), str(error)
            return
        assert found == case.get("expected_text")

    def encode(self, case: dict[str, Any]) -> None:
        found = self.binding.ids("encode", case["text"], str(int(case["special"])))
        assert found == case["expected_ids"]
        assert self.binding.text("decode", joined(found), "0") == case["expected_text"]

    def chat(self, case: dict[str, Any]) -> None:
        found = self.binding.text("render", conversation(case))
        assert found == case["expected_text"]
        assert self.binding.ids("encode", found, "0") == case["expected_ids"]

    def after(self, case: dict[str, Any]) -> None:
        found = self.binding.ids("encode_after", case["prompt"], case["text"], str(int(case["special"])))
        assert found == case["expected_ids"]

    def answer(self, case: dict[str, Any]) -> None:
        assert self.binding.ids("encode_answer", conversation(case), case["answer"]) == case["expected_ids"]

    def logits(self, case: dict[str, Any]) -> None:
        asked = joined(case["input_ids"]), case["adapter"], joined(case["positions"])
        found = self.binding.floats("logits", *asked)
        np.testing.assert_allclose(found[:, case["columns"]], case["expected"], atol=case["tolerance"], rtol=0)
        assert found.argmax(axis=1).tolist() == case["expected_argmax"]

    def tokens(self, case: dict[str, Any]) -> None:
        options = {"adapter": case["adapter"], "max_new_tokens": case["max_new_tokens"], **case["sampling"]}
        (found,) = self.binding.answers("ids", joined(case["input_ids"]), pairs(options))
        assert (found.token_ids, found.prompt_tokens) == (case["expected_ids"], len(case["input_ids"]))

    def batch(self, case: dict[str, Any]) -> None:
        options = {"adapters": case["adapters"], "max_new_tokens": case["max_new_tokens"], **case["sampling"]}
        rows = "\n".join(joined(row) for row in case["input_ids"])
        found = self.binding.answers("ids", rows, pairs(options))
        assert [answer.token_ids for answer in found] == case["expected_ids"]

    def choices(self, case: dict[str, Any]) -> None:
        options = {"adapter": case["adapter"], "raw": case["raw"], "choices": case["choices"]}
        (found,) = self.binding.answers("generate", case["prompt"], pairs(options))
        assert (found.text, found.finish_reason) == (case["expected_text"], "choice")
        assert found.scores == pytest.approx(case["expected_scores"], abs=case["tolerance"])

    def text(self, case: dict[str, Any]) -> None:
        options = {"adapter": case["adapter"], "raw": case["raw"], "max_new_tokens": case["max_new_tokens"]}
        asked = case["prompt"], pairs({**options, "stop": case["stop"], **case["sampling"]})
        (found,) = self.binding.answers("generate", *asked)
        expected = [case[f"expected_{name}"] for name in ("text", "ids", "reason", "prompt_tokens")]
        assert [found.text, found.token_ids, found.finish_reason, found.prompt_tokens] == expected
        streamed = self.binding.ask("stream", *asked)
        assert told(streamed[:5]) == [found]
        assert b"".join(streamed[5:]).decode() == case["expected_text"]
        assert all(streamed[5:])

    def error(self, case: dict[str, Any]) -> None:
        with pytest.raises(RefusedError) as caught:
            self.binding.answers("ids", joined(case["input_ids"]), pairs({"adapter": case["adapter"]}))
        assert case["message_has"] in str(caught.value)

    def refuse(self, case: dict[str, Any]) -> None:
        """A case of ``refuse.json``."""
        if case["kind"] == "pattern":
            found = self.binding.text("match_module", case["field"], case["pattern"], case["module"])
            assert found == str(int(case["expected"]))
            return
        if case.get("accepted"):
            assert self.binding.ask("check_file", case["kind"], content_of(case)) == []
            return
        with pytest.raises(RefusedError) as caught:
            self.binding.ask("check_file", case["kind"], content_of(case))
        message = str(caught.value)
        assert case["message_has"] in message
        assert len(message) < LONGEST_LINE and message.isprintable()
