"""Answers that keep a form: the cases of runtime/conformance/forms.json, hooks on the logits, and what is missing."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgelora_runtime import InputError
from edgelora_runtime.form_mask import read_forms
from edgelora_runtime.token_bytes import drops_blank, token_bytes
from tests.conformance_check import artifact, refusal
from tests.conformance_forms import PLACE, allowed, start, sum_up

CASES: list[dict[str, Any]] = json.loads(PLACE.read_text(encoding="utf-8"))["cases"]
DAY = {"enum": ["Mon", "Tue"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['artifact']} {case['name']}"[:70])
def test_case(case: dict[str, Any]) -> None:
    globals()[f"check_{case['kind']}"](case)


def check_form(case: dict[str, Any]) -> None:
    model = artifact(case["artifact"])
    options = {name: case[name] for name in ("raw", "adapter", "max_new_tokens", "schema", "regex")}
    found = model.generate(case["prompt"], **options, **case["sampling"])
    assert [found.text, list(found.token_ids), found.finish_reason] == [
        case["expected_text"],
        case["expected_ids"],
        case["expected_reason"],
    ]
    assert "".join(model.generate(case["prompt"], stream=True, **options, **case["sampling"])) == found.text
    if not case["sampling"]:
        assert model.generate(case["prompt"], lookup=True, **options).token_ids == found.token_ids


def check_forms(case: dict[str, Any]) -> None:
    model = artifact(case["artifact"])
    found = model.generate(
        case["prompts"],
        adapter=case["adapters"],
        schema=case["schemas"],
        regex=case["regexes"],
        max_new_tokens=case["max_new_tokens"],
    )
    assert [answer.text for answer in found] == case["expected_text"]
    assert [list(answer.token_ids) for answer in found] == case["expected_ids"]
    assert [answer.finish_reason for answer in found] == case["expected_reason"]


def check_mask(case: dict[str, Any]) -> None:
    model = artifact(case["artifact"])
    mask, so_far = start(model, case["schema"], case["regex"]), [3]
    for token, expected in zip([None, *case["walk"]], case["expected"], strict=True):
        so_far += [] if token is None else [token]
        assert sum_up(allowed(mask, so_far, model.manifest.model.vocab_size)) == expected


def check_form_refused(case: dict[str, Any]) -> None:
    model = artifact(case["artifact"])
    line = refusal(lambda: model.generate("x", schema=case["schema"], regex=case["regex"]))
    assert case["message_has"] in line
    assert line.isprintable() and len(line) < 500


WALKS = [case for case in CASES if case["kind"] == "mask"]


@pytest.mark.parametrize("case", WALKS, ids=lambda case: f"{case['artifact']} {case['name']}"[:70])
def test_the_largest_logit_is_left_where_it_has_its_place(case: dict[str, Any]) -> None:
    model = artifact(case["artifact"])
    vocab_size, ends = model.manifest.model.vocab_size, model.manifest.model.eos_token_ids
    mask, quick = (start(model, case["schema"], case["regex"], takes_largest=largest) for largest in (False, True))
    so_far, n_left = [3], 0
    for number, token in enumerate([*case["walk"], None]):
        expected = allowed(mask, so_far, vocab_size)
        if expected is None:
            assert quick(so_far, np.zeros(vocab_size, np.float32))
            break
        refused = next((other for other in range(vocab_size - 1, -1, -1) if other not in expected), None)
        is_walked = token is not None and token not in ends and number % 2 == 0  # the others are refused once
        logits = np.zeros(vocab_size, np.float32)
        largest = token if is_walked else refused
        if largest is None:
            break
        logits[largest] = 1
        assert not quick(so_far, logits)
        if is_walked:
            assert np.flatnonzero(logits).tolist() == [largest]
            n_left += 1
        else:
            assert np.flatnonzero(np.isfinite(logits)).tolist() == expected
        so_far += [] if token is None else [token]
    assert n_left


def test_every_kind_is_there_and_answers_are_valid() -> None:
    assert {case["kind"] for case in CASES} == {"form", "forms", "mask", "form_refused"}
    whole = [case for case in CASES if case["kind"] == "form" and case["expected_reason"] == "stop"]
    assert len(whole) > 20
    for case in whole:
        if case["schema"] is not None:
            json.loads(case["expected_text"])


def test_a_function_sees_the_tokens_so_far_and_changes_their_logits() -> None:
    model = artifact("tiny-float")
    seen: list[list[int]] = []

    def process(token_ids: Sequence[int], logits: np.ndarray) -> bool:
        assert logits.dtype == np.float32 and logits.shape == (model.manifest.model.vocab_size,)
        seen.append(list(token_ids))
        logits[:] = -np.inf
        logits[20 + len(seen)] = 0
        return len(seen) == 4

    assert model.generate_ids([7, 8], process_logits=process, max_new_tokens=9) == [21, 22, 23]
    assert seen == [[7, 8], [7, 8, 21], [7, 8, 21, 22], [7, 8, 21, 22, 23]]
    plain = model.generate_ids([[7, 8], [9]], max_new_tokens=3)
    only_first = model.generate_ids([[7, 8], [9]], max_new_tokens=3, process_logits=[lambda _, row: row.fill(0), None])
    assert only_first == [[0, 0, 0], plain[1]]


def test_a_function_comes_before_the_form() -> None:
    model = artifact("tiny-float")
    tuesday = model.tokenizer.encode("u", special=False)[0]  # type: ignore[union-attr]

    def prefer(token_ids: Sequence[int], logits: np.ndarray) -> None:
        logits[tuesday] = 1e4
        logits[0] = 1e5  # a special token, which no form has a place for

    assert model.generate("x", regex="M[aou]n", process_logits=prefer, max_new_tokens=5).text == "Mun"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schema": DAY, "choices": ["a"]}, "exclude choices"),
        ({"regex": "a", "stop": "b"}, "exclude stop"),
        ({"schema": [DAY, DAY, DAY]}, "3 for 2 prompts"),
        ({"schema": [DAY, None], "regex": ["a"]}, "differ in length"),
        ({"process_logits": 3}, "process_logits"),
        ({"process_logits": [None, None, None]}, "3 for 2 prompts"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    assert words in refusal(lambda: artifact("tiny-float").generate(["a", "b"], **options))


def test_a_missing_library_is_named_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    model = artifact("tiny-int8")
    for ask in (
        lambda: model.generate("x", schema=DAY),
        lambda: model.generate("x", regex="a", stream=True),
    ):
        assert refusal(ask) == (
            "schema and regex need the package llguidance, which is not installed; "
            "pip install 'edgelora-runtime[grammar]'"
        )


def test_bytes_of_tokens_are_those_of_their_tokenizer() -> None:
    bytes_of = {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteLevel"}]}
    assert token_bytes({"Ġa": 0, "Ã": 1, "<s>": 2}, bytes_of, {"<t>": 3, "<s>": 2}, frozenset([2])) == {
        0: b" a",
        1: b"\xc3",
        3: b"<t>",
    }
    pieces = {
        "type": "Sequence",
        "decoders": [{"type": "ByteFallback"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}],
    }
    assert token_bytes({"\u2581a": 0, "<0xC3>": 1, "é": 2}, pieces, {}, frozenset()) == {
        0: b" a",
        1: b"\xc3",
        2: "é".encode(),
    }
    assert drops_blank(pieces) and not drops_blank(bytes_of)
    for decoder, words in (({"type": "WordPiece"}, "WordPiece"), (None, "none"), ({"type": "Fuse"}, "none")):
        with pytest.raises(InputError, match=words):
            token_bytes({"a": 0}, decoder, {}, frozenset())


def test_forms_are_read_for_all_rows_or_for_each() -> None:
    assert read_forms(None, None) == ()
    assert len(read_forms(DAY, None)) == 1
    first, second, third = read_forms([DAY, None, None], [None, "a", None])
    assert first is not None and second is not None and third is None
    with pytest.raises(InputError, match="exclude each other"):
        read_forms([DAY], ["a"])


def test_numbers_of_a_schema_are_written_alike_everywhere() -> None:
    for value, written in ((1.0, "1"), (-0.0, "0"), (0.5, "0.5"), (10**14, "100000000000000")):
        model = artifact("tiny-float")
        assert model.generate("x", schema={"const": value}, max_new_tokens=30).text.strip() == written
