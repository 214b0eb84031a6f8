"""Packed adapters kept on the device: equal answers, and packed anew whenever anything about them does not fit."""

from __future__ import annotations

import copy
import dataclasses
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

import edgelora_runtime.open_adapter as open_module
from edgelora_runtime import AdapterError, Model, load
from tests.tiny import write_adapter

PROMPT = [5, 9, 2, 7, 11, 3]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the folders that an adapter was read and packed from."""
    folders: list[str] = []
    original = open_module.read_adapter

    def record(folder: Path, *given: bool, **named: bool) -> object:
        folders.append(folder.name)
        return original(folder, *given, **named)

    monkeypatch.setattr(open_module, "read_adapter", record)
    return folders


def answers(model: Model) -> np.ndarray:
    return np.concatenate([model.logits(PROMPT, adapter=spec) for spec in ("usual", "one", "usual:0.5+one")])


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "adapters").iterdir())


def test_answers_are_bit_for_bit_those_without_a_cache(shared_artifact: Path, tmp_path: Path, read: list[str]) -> None:
    expected = answers(load(shared_artifact, threads=1))
    for count in (2, 0, 0):
        read.clear()
        np.testing.assert_array_equal(answers(load(shared_artifact, threads=1, cache=tmp_path)), expected)
        assert len(read) == count
    assert len(kept(tmp_path)) == 2
    read.clear()
    np.testing.assert_array_equal(answers(load(shared_artifact, threads=1, cache=tmp_path, hashes=True)), expected)
    assert sorted(read) == ["one", "usual"], "who wants every byte read gets no kept ones"


def test_a_changed_adapter_is_packed_anew_and_replaces_the_old(
    shared_artifact: Path, tmp_path: Path, read: list[str]
) -> None:
    folder, cache = write_adapter(tmp_path / "mine", seed=5), tmp_path / "cache"

    def answer() -> np.ndarray:
        model = load(shared_artifact, threads=1, cache=cache)
        model.load_adapter("mine", folder)
        return model.logits(PROMPT, adapter="mine")

    first = answer()
    (before,) = kept(cache)
    write_adapter(folder, seed=6)
    second = answer()
    assert read == ["mine", "mine"]
    assert np.abs(first - second).max() > 1e-3
    (after,) = kept(cache)
    assert after != before
    (folder / "adapter_config.json").write_text((folder / "adapter_config.json").read_text().replace("8", "4"))
    assert np.abs(answer() - second).max() > 1e-3, "half the alpha"
    shutil.rmtree(folder)
    with pytest.raises(AdapterError, match=r"adapter_config\.json"):
        answer()


def test_an_adapter_that_is_replaced_while_it_is_read_is_not_kept_as_the_new_one(
    shared_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = write_adapter(tmp_path / "mine", seed=5), tmp_path / "cache"
    original = open_module.read_adapter

    def read_and_replace(path: Path, *given: bool, **named: bool) -> object:
        found = original(path, *given, **named)
        found = dataclasses.replace(found, factors={name: copy.deepcopy(item) for name, item in found.factors.items()})
        write_adapter(folder, seed=6)
        return found

    monkeypatch.setattr(open_module, "read_adapter", read_and_replace)
    load(shared_artifact, threads=1, cache=cache).load_adapter("mine", folder)
    monkeypatch.setattr(open_module, "read_adapter", original)
    found = []
    for place in (cache, None):
        model = load(shared_artifact, threads=1, cache=place)
        model.load_adapter("mine", folder)
        found.append(model.logits(PROMPT, adapter="mine"))
    np.testing.assert_array_equal(*found)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def short(path: Path) -> None:
    path.write_bytes(b"\0" * 8)


def negative(path: Path) -> None:
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def huge(path: Path) -> None:
    path.write_bytes(b"\xff" * 7 + b"\x7f" + path.read_bytes()[8:])


@pytest.mark.parametrize("damage", [cut, empty, short, negative, huge, Path.unlink])
def test_a_damaged_file_is_packed_anew(shared_artifact: Path, tmp_path: Path, read: list[str], damage: object) -> None:
    expected = answers(load(shared_artifact, threads=1, cache=tmp_path))
    for path in kept(tmp_path):
        damage(path)  # type: ignore[operator]
    read.clear()
    for count in (2, 2):
        np.testing.assert_array_equal(answers(load(shared_artifact, threads=1, cache=tmp_path)), expected)
        assert len(read) == count
    assert len(kept(tmp_path)) == 2


def test_a_folder_that_cannot_be_written_is_a_warning(
    shared_artifact: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = answers(load(shared_artifact, threads=1))
    (tmp_path / "adapters").write_text("a file where a folder belongs")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(answers(load(shared_artifact, threads=1, cache=tmp_path)), expected)
    assert "is not kept packed in" in caplog.text


def test_an_adapter_that_is_refused_is_not_kept(shared_artifact: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "zero", size=0)
    model = load(shared_artifact, threads=1, cache=tmp_path / "cache")
    for _ in range(2):
        with pytest.raises(AdapterError, match="changes nothing"):
            model.load_adapter("zero", folder)
    assert not (tmp_path / "cache" / "adapters").exists()
