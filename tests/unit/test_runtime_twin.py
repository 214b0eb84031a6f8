"""The graph without slots: the same answers as empty slots, and in memory only when it should be."""

import dataclasses
import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import edgelora_runtime.session as session_module
from edgelora.artifact.verify import verify_artifact
from edgelora_runtime import load
from edgelora_runtime.graph import Graph
from edgelora_runtime.manifest import MANIFEST_FILE, file_info, read_manifest
from tests.unit.test_runtime_model import ARTIFACT, LONG

IDS = LONG[:30]
TWIN = "decoder.plain.onnx"
SLOTTED = "decoder.onnx"


def copy(folder: Path, **changes: Any) -> Path:
    """The tiny artifact with other manifest fields, and the files that its manifest names as they are now."""
    if not folder.exists():
        shutil.copytree(ARTIFACT, folder)
    manifest = dataclasses.replace(read_manifest(folder), **changes)
    files = {name: file_info(folder / name) for name in manifest.files if (folder / name).exists()}
    (folder / MANIFEST_FILE).write_text(dataclasses.replace(manifest, files=files).to_json(), encoding="utf-8")
    return folder


class Graphs:
    """Which graph files are in memory, and which of them ran."""

    def __init__(self) -> None:
        self.alive: weakref.WeakValueDictionary[int, Graph] = weakref.WeakValueDictionary()
        self.files: dict[int, str] = {}
        self.ran: list[str] = []

    def loaded(self) -> list[str]:
        gc.collect()
        return sorted(self.files[number] for number in self.alive)

    def forget(self) -> None:
        self.alive.clear()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    found = Graphs()

    class Recorded(Graph):
        def __init__(self, path: Path, *rest: Any) -> None:
            super().__init__(path, *rest)
            self.file, number = path.name, len(found.files)
            found.files[number] = path.name
            found.alive[number] = self

        def run(self) -> None:
            found.ran.append(self.file)
            super().run()

    monkeypatch.setattr(session_module, "Graph", Recorded)
    return found


def test_with_twin_none_runs_without_slots_and_adapters_with_them(graphs: Graphs) -> None:
    one = load(ARTIFACT, threads=1)
    assert graphs.loaded() == [SLOTTED]
    graphs.forget()
    both = load(ARTIFACT, threads=1, twin=True)
    assert graphs.loaded() == [SLOTTED, TWIN]
    for spec in ("none", "four", "none", "one:0.5+eight:0.5", "none"):
        graphs.ran.clear()
        assert np.array_equal(one.logits(IDS, adapter=spec), both.logits(IDS, adapter=spec)), spec
        assert graphs.ran == [SLOTTED, TWIN if spec == "none" else SLOTTED]
    assert np.abs(both.logits(IDS, adapter="four") - both.logits(IDS, adapter="none")).max() > 0.1


def test_generation_goes_on_across_both_graphs() -> None:
    one, both = load(ARTIFACT, threads=1), load(ARTIFACT, threads=1, twin=True)
    for spec in ("none", "eight", "none"):
        for prompt in (IDS, [IDS, IDS[:7]], LONG):  # one row, two rows, a cache that grows
            found, expected = (model.generate_ids(prompt, adapter=spec, max_new_tokens=9) for model in (both, one))
            assert found == expected
    rows = both.generate_ids([IDS, IDS], adapter=["none", "four"], max_new_tokens=5)
    assert rows == one.generate_ids([IDS, IDS], adapter=["none", "four"], max_new_tokens=5)


def test_an_artifact_without_adapters_opens_the_twin_until_one_is_used(tmp_path: Path, graphs: Graphs) -> None:
    model = load(copy(tmp_path / "bare", adapters=()), threads=1)
    assert graphs.loaded() == [TWIN]
    before = model.logits(IDS)
    model.load_adapter("four", ARTIFACT / "adapters" / "four")
    assert graphs.loaded() == [TWIN]
    adapted = model.logits(IDS, adapter="four")
    assert graphs.loaded() == [SLOTTED], "an app has memory for one"
    assert np.array_equal(adapted, load(ARTIFACT, threads=1).logits(IDS, adapter="four"))
    assert np.array_equal(model.logits(IDS), before)


def test_an_artifact_of_before_there_were_twins_still_runs(tmp_path: Path, graphs: Graphs) -> None:
    folder = copy(tmp_path / "old")
    (folder / TWIN).unlink()
    copy(folder, graph=dataclasses.replace(read_manifest(folder).graph, without_slots=None))
    for twin in (False, True):
        graphs.forget()
        model = load(folder, threads=1, twin=twin)
        assert graphs.loaded() == [SLOTTED]
        assert np.array_equal(model.logits(IDS, adapter="none"), load(ARTIFACT, threads=1).logits(IDS, adapter="none"))
    assert verify_artifact(folder, threads=1).passed


def test_verify_refuses_a_twin_over_other_weights(tmp_path: Path) -> None:
    folder = copy(tmp_path / "swapped")
    assert verify_artifact(folder, threads=1).passed
    twin = onnx.load(folder / TWIN, load_external_data=False)
    first, second = (node for node in twin.graph.node if any("down_proj.codes" in name for name in node.input))
    first.input[1], second.input[1] = second.input[1], first.input[1]
    (folder / TWIN).write_bytes(twin.SerializeToString())
    report = verify_artifact(copy(folder), threads=1)
    assert [check.name for check in report.checks if not check.passed] == ["twin"]


def test_verify_names_a_twin_that_is_no_twin(tmp_path: Path) -> None:
    folder = copy(tmp_path / "other")
    shutil.copyfile(folder / "decoder.onnx", folder / TWIN)
    report = verify_artifact(copy(folder), threads=1)
    (wrong,) = [check for check in report.checks if not check.passed]
    assert wrong.name == "twin"
    assert "decoder.plain.onnx and the manifest disagree" in wrong.detail
