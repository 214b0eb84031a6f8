"""Encoders through the C interface: every case of encoders.json, and what the header says beside them."""

from __future__ import annotations

import json
from ctypes import byref, c_char_p, c_float, c_int32, c_size_t, c_void_p
from typing import Any

import pytest

from tests.conformance_check import FOLDER
from tests.native.encoder_cases import FILE, check
from tests.native.interface import ADAPTER, ARTIFACT, INVALID_INPUT, Library, Model, NativeError

MODELS: dict[str, Model] = {}


def model(library: Library, name: str) -> Model:
    if name not in MODELS:
        MODELS[name] = library.load(FOLDER / name, hashes=1, probe=1)
    return MODELS[name]


@pytest.mark.parametrize("case", FILE["cases"], ids=lambda case: f"{case['artifact']} {case['name']}"[:70])
def test_case(library: Library, case: dict[str, Any]) -> None:
    opened = model(library, case["artifact"])
    if case["kind"] == "adapter":
        check_adapter(opened, case)
    elif case["kind"] == "refused":
        with pytest.raises(NativeError) as caught:
            getattr(opened, case["method"])(case["texts"], case["adapters"])
        assert case["message_has"] in str(caught.value)
    else:
        check(opened, case)


def test_what_is_no_number_is_refused(library: Library) -> None:
    opened = model(library, "encoder-topics")
    expected = opened.classify(["my order"], "topics")
    for spec in ("topics:1e38", ["none", "topics:1e38"]):
        texts = ["my order"] * (1 if isinstance(spec, str) else 2)
        with pytest.raises(NativeError, match="computed nan where a number is due; give adapters smaller") as caught:
            opened.classify(texts, spec)
        assert caught.value.code == ARTIFACT
        assert opened.classify(["my order"], "topics") == expected


def check_adapter(opened: Model, case: dict[str, Any]) -> None:
    folder = str(FOLDER / case["folder"]).encode()
    name, trust = b"given", c_int32(case["trust"])

    def give() -> None:
        if case["labels"] is None:
            opened.library.call("load_adapter", opened.handle, name, folder, trust)
        else:
            labels = json.dumps(case["labels"]).encode()
            opened.library.call("load_adapter_with_labels", opened.handle, name, folder, labels, trust)
        if case["probe"]:
            told = json.loads(opened.library.text("probe", opened.handle, name))
            assert told is None or told["effect_expected"] >= 0

    try:
        if case.get("accepted"):
            give()
            return
        with pytest.raises(NativeError) as caught:
            give()
        assert caught.value.code == ADAPTER
        assert case["message_has"] in str(caught.value)
    finally:
        if "given" in opened.info()["adapters"]:
            opened.library.call("unload_adapter", opened.handle, name)


@pytest.mark.parametrize("case", FILE["refuse"], ids=lambda case: case["name"])
def test_manifest(library: Library, case: dict[str, Any]) -> None:
    data = json.loads((FOLDER / "encoder-topics/manifest.json").read_text(encoding="utf-8"))

    def place(path: list[Any]) -> Any:
        found = data
        for key in path:
            found = found[key]
        return found

    for change in case["changes"]:
        *path, last = change["at"]
        place(path)[last] = change["put"] if "put" in change else place(change["copy"])
    content = json.dumps(data).encode()
    if case.get("accepted"):
        library.call("check_file", b"manifest", content, c_size_t(len(content)))
        return
    with pytest.raises(NativeError) as caught:
        library.call("check_file", b"manifest", content, c_size_t(len(content)))
    assert case["message_has"] in str(caught.value)


def test_labels_are_those_of_the_spec(library: Library) -> None:
    opened = model(library, "encoder-topics")
    told = json.loads(opened.library.text("labels", opened.handle, b"flags"))
    assert told["labels"] == ["urgent", "angry", "spam", "question"]
    assert told["problem_type"] == "multi_label_classification"
    assert told["temperature"] == pytest.approx(0.8)
    assert json.loads(opened.library.text("labels", opened.handle, None))["labels"] == ["billing", "delivery", "other"]


def test_a_set_adapter_answers_where_none_is_given(library: Library) -> None:
    opened = library.load(FOLDER / "encoder-topics")
    library.call("set_adapter", opened.handle, b"flags")
    assert list(opened.classify(["my mail"])[0]["scores"]) == ["urgent", "angry", "spam", "question"]
    assert opened.info()["adapter"] == "flags"
    with pytest.raises(NativeError, match="is in use"):
        library.call("unload_adapter", opened.handle, b"flags")


def test_a_blend_of_other_labels_cannot_be_set(library: Library) -> None:
    opened = model(library, "encoder-topics")
    for spec, words in ((b"flags+topics", "the same labels"), (b"topics+more:-1", "add up to 0")):
        with pytest.raises(NativeError, match=words) as caught:
            library.call("set_adapter", opened.handle, spec)
        assert caught.value.code == ADAPTER


def test_every_adapter_answers_one_text(library: Library) -> None:
    opened = model(library, "encoder-topics")
    found = opened.classify_each("my mail")
    assert list(found) == opened.info()["adapters"]
    for spec, answer in found.items():
        assert answer["scores"] == pytest.approx(opened.classify(["my mail"], spec)[0]["scores"], abs=1e-5)


def test_what_is_for_another_task_is_refused(library: Library) -> None:
    with pytest.raises(NativeError, match="use edgelora_classify") as caught:
        model(library, "encoder-topics").generate("my mail")
    assert caught.value.code == INVALID_INPUT
    with pytest.raises(NativeError, match="use edgelora_generate"):
        library.load(FOLDER / "tiny-float").classify(["my mail"])
    with pytest.raises(NativeError, match="reads images"):
        model(library, "encoder-images").classify(["my mail"])
    with pytest.raises(NativeError, match="give texts"):
        model(library, "encoder-topics").classify_pixels([0.0] * 12)


def test_counts_and_places_are_checked(library: Library) -> None:
    opened, options = model(library, "encoder-vectors"), library.encoder_options("none")
    vectors, count, cut = c_void_p(), c_size_t(), (c_int32 * 2)()
    given = opened.handle, c_char_p(b'["a"]'), byref(options)
    with pytest.raises(NativeError, match="n_truncated is 2, expected 1"):
        library.call("embed", *given, byref(vectors), byref(count), cut, c_size_t(2))
    with pytest.raises(NativeError, match="vectors is NULL"):
        library.call("embed", *given, None, byref(count), None, c_size_t(0))
    with pytest.raises(NativeError, match="the batch is empty"):
        opened.embed([])
    with pytest.raises(NativeError, match="2 adapters for 1 texts"):
        opened.embed(["a"], ["one", "four"])
    images = model(library, "encoder-images")
    wrong = (c_float * 7)()
    with pytest.raises(NativeError, match="pixels are 7 numbers"):
        library.text("classify_pixels", images.handle, wrong, c_size_t(7), byref(options))


def test_a_cancelled_call_ends(library: Library) -> None:
    opened, options = model(library, "encoder-vectors"), library.encoder_options("one")
    cancel = c_void_p(library["cancel_create"]())
    library["cancel_set"](cancel)
    options.cancel = cancel
    with pytest.raises(NativeError, match="cancelled"):
        library.floats("embed", opened.handle, b'["a"]', byref(options), after=(None, c_size_t(0)))
    library["cancel_free"](cancel)


def test_many_texts_answer_as_each_alone(library: Library) -> None:
    opened = model(library, "encoder-topics")
    texts = [f"the mail from Anna {'late ' * (index % 7)}" for index in range(150)]
    for spec in ("flags", "topics"):
        found = opened.classify(texts, spec)
        for index in (0, 6, 77, 149):
            alone = opened.classify([texts[index]], spec)[0]
            assert found[index]["scores"] == pytest.approx(alone["scores"], abs=1e-5)
