"""Classifiers, taggers and embedders as a caller sees them: batches, adapters by row, threads, caches, bad input.

The artifacts are spelled out in ``tests/tiny_encoder.py``, whose numpy says what is right.
"""

import logging
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora_runtime import AdapterError, ArtifactError, EncoderModel, InputError, load
from edgelora_runtime.adapter_set import AdapterSet
from edgelora_runtime.bound_adapter import BoundAdapter
from edgelora_runtime.encoder_session import EncoderSession
from edgelora_runtime.head import read_base_head
from edgelora_runtime.head_packer import HeadPacker
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    HeadInfo,
    read_manifest,
)
from edgelora_runtime.packers import SlotPacker
from tests.tiny_encoder import (
    CONTEXT,
    IMAGE,
    TinyEncoder,
    adapter_tensors,
    list_adapter,
    write_answers,
    write_encoder,
    write_encoder_adapter,
)

LABELS = {"two": (2, 1), "one": (1, 64), "many": (77, 4)}  # number of labels, rank


class Case:
    """A loaded artifact, its numpy, and the tensors of its adapters."""

    def __init__(self, folder: Path, task: str, **options: Any) -> None:
        self.folder, self.base_head = folder, None if task == FEATURE_EXTRACTION else HeadInfo(("no", "yes", "maybe"))
        self.encoder: TinyEncoder = write_encoder(folder / "artifact", task, self.base_head, **options)
        self.tensors = {
            name: adapter_tensors(task, rank, count, seed) for seed, (name, (count, rank)) in enumerate(LABELS.items())
        }
        for name, tensors in self.tensors.items():
            write_encoder_adapter(folder / name, tensors)
        self.model = self.open()

    def open(self, **options: Any) -> EncoderModel:
        model = load(self.folder / "artifact", threads=1, **{"task": self.encoder.task, **options})
        for name in self.tensors:
            model.load_adapter(name, self.folder / name)
        return model

    def expected(self, row: Any, spec: str) -> Any:
        return self.encoder.output(row, self.tensors.get(spec))


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("topics"), TEXT_CLASSIFICATION)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and adapters of every call of a graph."""
    found: list[tuple[int, int]] = []
    original = EncoderSession.run

    def run(self: EncoderSession, inputs: Any, adapter: BoundAdapter) -> Any:
        found.append((len(next(iter(inputs.values()))), adapter.rows))
        return original(self, inputs, adapter)

    monkeypatch.setattr(EncoderSession, "run", run)
    return found


@pytest.mark.parametrize("task", [TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION])
def test_rows_of_every_length_and_adapter_are_those_of_numpy(tmp_path: Path, task: str) -> None:
    case, rng = Case(tmp_path, task), np.random.default_rng(0)
    specs = ["none", *LABELS]
    rows = [rng.integers(0, case.encoder.vocabulary, count).tolist() for count in (1, CONTEXT, 2, 7, 7, 23, 3, 12)]
    for given in ([specs[index % 4] for index in range(8)], ["many"] * 8, ["none"] * 8):
        for row, spec, found in zip(rows, given, case.model.outputs(rows, adapter=given), strict=True):
            np.testing.assert_allclose(found, case.expected(row, spec), atol=2e-5)


def test_many_texts_go_in_calls_of_one_adapter_and_come_back_in_order(topics: Case, calls: list[Any]) -> None:
    texts = ["mail " * (index % 21) + "from paris" for index in range(1200)]
    specs = [("none", *LABELS)[index % 4] for index in range(1200)]
    found = topics.model.classify(texts, adapter=specs)
    assert len(calls) > 4
    assert {adapters for _, adapters in calls} == {1}
    assert sum(rows for rows, _ in calls) == 1200
    for index in (0, 1, 2, 3, 62, 299):
        alone = topics.model.classify(texts[index], adapter=specs[index])
        assert found[index].label == alone.label
        assert found[index].scores == pytest.approx(alone.scores, abs=1e-6)


def test_few_texts_with_different_adapters_go_in_one_call(topics: Case, calls: list[Any]) -> None:
    topics.model.classify(["mail", "", "from paris to new york"], adapter=["two", "none", "many"])
    assert calls == [(3, 3)]
    calls.clear()
    found = topics.model.classify_each("my order is late " * 9)
    assert calls == [(3, 3)]
    assert {name: len(item.scores) for name, item in found.items()} == {"two": 2, "one": 1, "many": 77}
    assert all(item.truncated for item in found.values())


def test_where_rows_share_an_adapter_each_adapter_has_a_call(tmp_path: Path, calls: list[Any]) -> None:
    case = Case(tmp_path, TEXT_CLASSIFICATION, one_adapter=True)
    found = case.model.outputs([[2, 5, 3], [2, 3], [2, 9, 3]], adapter=["two", "many", "two"])
    assert sorted(calls) == [(1, 1), (2, 1)]
    for row, spec, output in zip([[2, 5, 3], [2, 3], [2, 9, 3]], ["two", "many", "two"], found, strict=True):
        np.testing.assert_allclose(output, case.expected(row, spec), atol=2e-5)
    calls.clear()
    assert len(case.model.classify_each("mail")) == len(calls) == 3


def test_the_adapter_that_is_set_answers_where_none_is_given(topics: Case) -> None:
    model = topics.open()
    model.set_adapter("two")
    assert list(model.classify("mail").scores) == ["LABEL_0", "LABEL_1"]
    with pytest.raises(AdapterError, match="'two' is in use"):
        model.unload_adapter("two")
    model.set_adapter("none")
    assert list(model.classify("mail").scores) == ["no", "yes", "maybe"]
    model.unload_adapter("two")
    with pytest.raises(AdapterError, match="unknown adapter 'two'"):
        model.classify("mail", adapter="two")
    model.load_adapter("two", topics.folder / "two", labels=["a", "b"])
    assert list(model.classify("mail", adapter="two").scores) == ["a", "b"]
    head = model.labels("two")
    assert head is not None and head.labels == ("a", "b")


def test_threads_get_their_own_answers(topics: Case) -> None:
    texts = [f"order {index} from paris" for index in range(8)]
    expected = {spec: topics.model.classify(texts, adapter=spec) for spec in ("none", *LABELS)}
    wrong: list[str] = []

    def ask(spec: str) -> None:
        wrong.extend(spec for _ in range(15) if topics.model.classify(texts, adapter=spec) != expected[spec])

    threads = [threading.Thread(target=ask, args=(spec,)) for spec in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_packed_adapters_are_kept_with_their_heads(topics: Case, tmp_path: Path) -> None:
    rows = [[2, 5, 9, 3], [2, 3]]
    for _ in range(2):  # written by the first, mapped by the second
        model = topics.open(cache=tmp_path / "cache")
        for spec in ("none", *LABELS, "two:0.5"):
            for found, expected in zip(
                model.outputs(rows, adapter=spec), topics.model.outputs(rows, adapter=spec), strict=True
            ):
                np.testing.assert_array_equal(found, expected)
    assert len(list((tmp_path / "cache/adapters").glob("*.packed"))) == 3
    with pytest.raises(AdapterError, match="its head answers for 2 labels, but labels has 3"):
        model.load_adapter("two", topics.folder / "two", labels=["a", "b", "c"])


def test_within_a_budget_adapters_are_read_again_with_their_labels(topics: Case) -> None:
    small = topics.open(adapter_bytes=1)
    for _ in range(2):
        for spec in ("many", "two", "one"):
            assert small.classify("mail", adapter=spec) == topics.model.classify("mail", adapter=spec)
    found = small.classify_each("mail")
    for spec, item in topics.model.classify_each("mail").items():
        assert found[spec].scores == pytest.approx(item.scores)


def open_adapters(folder: Path, names: Sequence[str], most_bytes: int | None = None) -> AdapterSet:
    """The adapters of a case, packed for its graph."""
    manifest = read_manifest(folder / "artifact")
    assert manifest.encoder is not None
    base = read_base_head(folder / "artifact", manifest)
    packer = HeadPacker(SlotPacker(manifest.slots), manifest.encoder.head, base, manifest.encoder.base_head is not None)
    adapters = AdapterSet(folder / "artifact", manifest, packer, None, most_bytes, base)
    for name in names:
        adapters.load(name, folder / name)
    return adapters


def write_alike(folder: Path, count: int) -> list[str]:
    """Adapters of the same rank and number of labels."""
    names = [f"alike-{index}" for index in range(count)]
    for seed, name in enumerate(names):
        write_encoder_adapter(folder / name, adapter_tensors(TEXT_CLASSIFICATION, 3, 4, 10 + seed))
    return names


def contents(adapter: BoundAdapter) -> dict[str, Any]:
    return {name: np.array(array) for name, array in adapter.arrays.items()}


def test_rows_of_adapters_and_the_adapters_are_in_memory_once(topics: Case) -> None:
    names = write_alike(topics.folder, 5)
    adapters = open_adapters(topics.folder, names)
    before, alone = {name: contents(adapters.find(name)) for name in names}, adapters.n_bytes
    rows = adapters.find_rows(names)
    assert adapters.n_bytes == rows.n_bytes == alone
    assert adapters.find_rows(names) is rows
    for row, name in enumerate(names):
        found = adapters.find(name)
        assert found is adapters.find(name)
        for key, array in found.arrays.items():
            np.testing.assert_array_equal(array, before[name][key])
            assert array.size == 0 or np.shares_memory(array, rows.arrays[key][row])

    adapters.unload(names[0])  # the rows go with it, and the others get memory of their own
    assert adapters.n_bytes == alone * 4 // 5
    for name in names[1:]:
        for key, array in adapters.find(name).arrays.items():
            np.testing.assert_array_equal(array, before[name][key])
            assert not np.shares_memory(array, rows.arrays[key])


def test_adapters_of_other_ranks_or_labels_stay_where_they_are(topics: Case) -> None:
    adapters = open_adapters(topics.folder, [*LABELS])
    largest = {name: contents(adapters.find(name)) for name in LABELS}
    rows = adapters.find_rows([*LABELS, "two:0.5", "none"])
    for name, expected in largest.items():
        for key, array in adapters.find(name).arrays.items():
            np.testing.assert_array_equal(array, expected[key])
            assert not np.shares_memory(array, rows.arrays[key])


def test_rows_that_leave_for_the_budget_take_no_adapter_with_them(topics: Case) -> None:
    names = write_alike(topics.folder, 4)
    alone = open_adapters(topics.folder, names).n_bytes
    adapters = open_adapters(topics.folder, names, alone)
    adapters.find_rows(names)
    assert adapters.n_bytes == alone
    pairs = [adapters.find_rows([names[0], name]) for name in names[1:]]
    assert pairs[-1].rows == 2 and adapters.n_bytes <= alone
    for name in names:
        expected = contents(open_adapters(topics.folder, [name]).find(name))
        for key, array in adapters.find(name).arrays.items():
            np.testing.assert_array_equal(array, expected[key])
        assert adapters.n_bytes <= alone


def test_images_are_classified_one_or_several(tmp_path: Path) -> None:
    case, rng = Case(tmp_path, IMAGE_CLASSIFICATION), np.random.default_rng(1)
    pixels = rng.standard_normal((20, *IMAGE)).astype(np.float32)
    found = case.model.classify(pixels, adapter="many")
    assert isinstance(found, list)
    for image, item in zip(pixels, found, strict=True):
        assert item.label == f"LABEL_{case.expected(image, 'many').argmax()}"
    assert case.model.classify_each(pixels[0])["many"].label == found[0].label
    with pytest.raises(InputError, match=r"pixels are float32 \[3, 2\], expected \[3, 2, 4\]"):
        case.model.classify(pixels[0, :, :, 0])
    with pytest.raises(InputError, match="pixels are not finite"):
        case.model.classify(pixels * np.float32(np.inf))


def test_vectors_of_long_texts_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = Case(tmp_path, FEATURE_EXTRACTION)
    with caplog.at_level(logging.WARNING):
        found = case.model.embed(["mail", "mail " * 40], adapter=["two", "many"])
    assert "1 of 2 texts are longer than 24 tokens" in caplog.text
    assert found.shape == (2, 16)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    mail = case.model.tokenizer.encode("mail")  # type: ignore[union-attr]
    np.testing.assert_allclose(found[0], case.expected(mail, "two"), atol=1e-6)
    long = [mail[0], *mail[1:-1] * (CONTEXT - 2), mail[-1]]
    np.testing.assert_allclose(found[1], case.expected(long, "many"), atol=1e-6)
    assert case.model.labels("two") is None


def test_a_long_text_is_tagged_in_windows_as_each_window_alone(tmp_path: Path) -> None:
    case = Case(tmp_path, TOKEN_CLASSIFICATION)
    text = "anna is in paris the mail from new york is late " * 5
    found = case.model.tag(text, adapter="many")
    words = text.split()
    ids = case.model.tokenizer.encode(text)  # type: ignore[union-attr]
    body, size, step = ids[1:-1], CONTEXT - 2, CONTEXT - 2 - (CONTEXT - 2) // 4
    labels: dict[int, tuple[float, int]] = {}
    for start in range(0, len(body), step):
        end = min(start + size, len(body))
        logits = case.expected([ids[0], *body[start:end], ids[-1]], "many")[1:-1]
        for token in range(start, end):
            left = token - start if start else len(body)
            right = end - 1 - token if end < len(body) else len(body)
            if min(left, right) > labels.get(token, (-1, 0))[0]:
                labels[token] = min(left, right), int(logits[token - start].argmax())
        if end == len(body):
            break
    expected = [f"LABEL_{labels[index][1]}" for index in range(len(words))]
    told = {place: span.label for span in found.spans for place in range(span.start, span.end)}
    place = 0
    for word, label in zip(words, expected, strict=True):
        assert told[place] == label
        place += len(word) + 1
    assert found.windows == 1 + -(-(len(body) - size) // step)


def test_what_cannot_be_answered_is_refused_in_one_line(topics: Case) -> None:
    model: Any = topics.model
    for call, kind, message in (
        (
            lambda: load(topics.folder / "artifact", task=FEATURE_EXTRACTION),
            ArtifactError,
            "is for text-classification",
        ),
        (lambda: model.tag("mail"), InputError, r"tag\(\) is not for text-classification; use classify\(\)"),
        (lambda: model.embed("mail"), InputError, r"use classify\(\)"),
        (lambda: model.classify([]), InputError, "the batch is empty; give at least one text"),
        (lambda: model.classify(["mail", 3]), InputError, "text is int, expected a text or a list of texts"),
        (lambda: model.classify(["mail"], adapter=["two", "one"]), InputError, "2 adapters for 1 texts"),
        (lambda: model.classify_each("mail", []), InputError, "there are no adapters to classify with"),
        (lambda: model.classify_each(["mail", "order"]), InputError, "classify_each got 2 texts, expected one"),
        (lambda: model.classify("mail", adapter="two+one"), AdapterError, "have heads for other labels or problems"),
        (lambda: model.set_adapter("two+one"), AdapterError, "have heads for other labels or problems"),
        (lambda: model.outputs([[2, 10_000]]), InputError, "token ids go from 2 to 10000"),
        (lambda: model.outputs([[]]), InputError, "the prompt has no tokens"),
        (lambda: model.outputs([[2] * (CONTEXT + 1)]), InputError, "the context length"),
        (lambda: model.load_adapter("x", topics.folder / "two", labels="ab"), AdapterError, "labels is 'ab', expected"),
    ):
        with pytest.raises(kind, match=message):
            call()


def test_a_closed_model_refuses_and_lets_go(topics: Case) -> None:
    with topics.open() as model:
        assert model.adapters == tuple(LABELS)
    with pytest.raises(InputError, match="was closed; load the artifact again"):
        model.classify("mail")


def test_a_probe_says_how_far_the_answers_are(topics: Case, tmp_path: Path) -> None:
    tensors = topics.tensors["two"]
    folder = write_encoder_adapter(tmp_path / "told", tensors)
    write_answers(folder, topics.encoder, tensors, HeadInfo(("a", "b")), [[2, 5, 9, 3]])
    model = topics.open()
    model.load_adapter("told", folder)
    found = model.probe("told")
    assert found is not None and found.passed
    assert found.effect_found == pytest.approx(found.effect_expected, rel=1e-4)
    assert model.probe("two") is None


def test_a_manifest_with_the_labels_in_another_order_is_found_out(topics: Case, tmp_path: Path) -> None:
    artifact, trained = Path(shutil.copytree(topics.folder / "artifact", tmp_path / "artifact")), HeadInfo(("a", "b"))
    folder = write_encoder_adapter(tmp_path / "two", topics.tensors["two"])
    write_answers(folder, topics.encoder, topics.tensors["two"], trained, [[2, 5, 9, 3]])
    list_adapter(artifact, "right", folder, 1, trained)
    list_adapter(artifact, "turned", folder, 1, HeadInfo(("b", "a")))
    model = load(artifact, threads=1, task=TEXT_CLASSIFICATION)
    assert set(model.classify("mail", adapter="right").scores) == {"a", "b"}
    with pytest.raises(AdapterError, match="the manifest has 'b', 'a', but its receipt 'a', 'b'; the labels must be"):
        model.classify("mail", adapter="turned")
    with pytest.raises(AdapterError, match="the labels must be those of the training"):
        load(artifact, threads=1, task=TEXT_CLASSIFICATION, probe=True)
