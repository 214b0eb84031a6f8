"""The cache of packed graphs on the device: equal answers, and remade whenever anything about it does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from edgelora_runtime import ArtifactError, InputError, Model, graph_cache, load

PROMPT = [5, 9, 2, 7, 11, 3]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every graph that a session is made from."""
    paths: list[Path] = []
    make = ort.InferenceSession

    def record(path: str, *args: object, **options: object) -> ort.InferenceSession:
        paths.append(Path(path))
        return make(path, *args, **options)

    monkeypatch.setattr(ort, "InferenceSession", record)
    return paths


def answers(model: Model) -> np.ndarray:
    return np.concatenate([model.logits(PROMPT, adapter=spec) for spec in ("none", "usual", "usual:0.5+one")])


def only_entry(folder: Path) -> Path:
    (entry,) = (path for path in folder.iterdir() if path.name != "adapters")
    return entry


def test_answers_are_bit_for_bit_those_without_a_cache(
    shared_artifact: Path, tmp_path: Path, opened: list[Path]
) -> None:
    expected = answers(load(shared_artifact, threads=1))
    for _ in range(3):
        np.testing.assert_array_equal(answers(load(shared_artifact, threads=1, cache=tmp_path / "c")), expected)
    entry = only_entry(tmp_path / "c")
    assert opened == [shared_artifact / "decoder.onnx"] * 2 + [entry / "graph.onnx"] * 2


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "hashes"),
    [
        ("weights.bin", cut, False),
        ("weights.bin", Path.unlink, False),
        ("weights.bin", flip, True),
        ("graph.onnx", cut, False),
        ("graph.onnx", flip, False),
        ("cache.json", lambda path: path.write_text("{"), False),
        ("cache.json", lambda path: path.write_text("[]"), False),
        ("cache.json", lambda path: path.write_text('{"files": {}}'), False),
    ],
)
def test_a_damaged_entry_is_made_anew(
    shared_artifact: Path, tmp_path: Path, opened: list[Path], name: str, damage: object, hashes: bool
) -> None:
    expected = answers(load(shared_artifact, threads=1, cache=tmp_path))
    damage(only_entry(tmp_path) / name)
    opened.clear()
    for _ in range(2):
        np.testing.assert_array_equal(
            answers(load(shared_artifact, threads=1, cache=tmp_path, hashes=hashes)), expected
        )
    assert opened == [shared_artifact / "decoder.onnx", only_entry(tmp_path) / "graph.onnx"]


def test_an_entry_that_cannot_be_loaded_is_made_anew(shared_artifact: Path, tmp_path: Path) -> None:
    expected = answers(load(shared_artifact, threads=1, cache=tmp_path))
    entry = only_entry(tmp_path)
    (entry / "graph.onnx").write_bytes(b"no graph")
    index = json.loads((entry / "cache.json").read_text())
    info = graph_cache.file_info(entry / "graph.onnx")
    index["files"]["graph.onnx"] = {"bytes": info.bytes, "sha256": info.sha256}
    (entry / "cache.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(answers(load(shared_artifact, threads=1, cache=tmp_path)), expected)
    assert (only_entry(tmp_path) / "graph.onnx").stat().st_size > 1000


@pytest.mark.parametrize("what", ["__version__", "_processor"])
def test_another_onnxruntime_or_processor_replaces_the_entry_and_nothing_else(
    shared_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cache.json").write_text('{"source": "of another program"}')
    (tmp_path / "note.txt").write_text("stays")
    load(shared_artifact, threads=1, cache=tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    monkeypatch.setattr(ort, "__version__", "99") if what == "__version__" else monkeypatch.setattr(
        graph_cache, "_processor", lambda: ["another"]
    )
    load(shared_artifact, threads=1, cache=tmp_path)
    after = {path.name for path in tmp_path.iterdir()}
    assert len(before) == len(after) == 3
    assert before & after == {"mine", "note.txt"}


def test_an_artifact_that_was_exported_anew_under_its_old_name_replaces_its_entry(
    artifact: Path, tmp_path: Path
) -> None:
    load(artifact, threads=1, cache=tmp_path / "c")
    old = only_entry(tmp_path / "c")
    manifest = json.loads((artifact / "manifest.json").read_text())
    graph = artifact / manifest["graph"]["file"]
    graph.write_bytes(graph.read_bytes() + b"\x32\x01x")  # protobuf: another doc_string
    info = graph_cache.file_info(graph)
    manifest["files"][graph.name] = {"bytes": info.bytes, "sha256": info.sha256}
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    load(artifact, threads=1, cache=tmp_path / "c")
    assert only_entry(tmp_path / "c") != old


def test_a_cache_that_cannot_be_finished_leaves_nothing_and_costs_nothing_else(
    shared_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(path: Path) -> None:
        raise OSError("No space left on device")

    expected = answers(load(shared_artifact, threads=1))
    monkeypatch.setattr(graph_cache, "file_info", fail)
    np.testing.assert_array_equal(answers(load(shared_artifact, threads=1, cache=tmp_path / "c")), expected)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["adapters"], "which needed no graph"
    assert "No space left" in caplog.text


def test_unusable_folders_and_graphs_are_reported(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the cache cannot be written"):
        load(artifact, cache=tmp_path / "file")
    manifest = json.loads((artifact / "manifest.json").read_text())
    graph = artifact / manifest["graph"]["file"]
    graph.write_bytes(b"no graph")
    info = graph_cache.file_info(graph)
    manifest["files"][graph.name] = {"bytes": info.bytes, "sha256": info.sha256}
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        load(artifact, cache=tmp_path / "c")
    assert not (tmp_path / "c").exists()
