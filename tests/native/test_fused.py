"""Fused graphs in the Python runtime: conformance cases, the answers of the graph with slots, what is refused."""

import dataclasses
import functools
import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgelora.artifact.verify import verify_artifact
from edgelora.cli import main
from edgelora_runtime import ArtifactError, InputError, Model, load
from edgelora_runtime.fused import FACTORS
from edgelora_runtime.graph import Graph
from edgelora_runtime.manifest import file_info, read_manifest
from tests import conformance_check
from tests.conformance_check import FOLDER, check, read_cases
from tests.opened import open_parts
from tests.operator_library import operator_library

KINDS = {"logits", "tokens", "batch", "choices", "text", "error"}  # what runs a graph
FUSED = sorted(path.parent.name for path in FOLDER.glob("*/decoder.fused.onnx"))
CASES = [case for case in read_cases() if case["kind"] in KINDS and case["artifact"] in FUSED]
IDS = [7, 8, 9, 200, 31, 4]
SPECS = ("none", "one", "four", "eight:0.5", "one:0.7+eight:-0.3", "four+four:2")
INVOKED = [7, 8, 316, 323, 9, 5, 200, 31, 3, 4]  # holds the invocations of tiny-activated, whose adapters do not blend


@functools.cache
def fused(name: str) -> Model:
    return load(FOLDER / name, hashes=True, operator=operator_library())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['artifact']} {case['name']}"[:70])
def test_case(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance_check, "artifact", fused)
    check(case)


def test_there_are_fused_graphs_of_all_native_artifacts() -> None:
    names = ("activated", "blank", "cache", "dora", "float", "int4", "int8", "shared")
    assert [f"tiny-{name}" for name in names] == FUSED
    assert {case["kind"] for case in CASES} == KINDS


@pytest.mark.parametrize("name", FUSED)
def test_answers_are_those_of_the_slots(name: str) -> None:
    plain = load(FOLDER / name, operator=False)
    activated = name == "tiny-activated"
    for spec in SPECS[:4] if activated else SPECS:
        expected, found = (model.logits(INVOKED if activated else IDS, adapter=spec) for model in (plain, fused(name)))
        # In an int8 cache a key at the edge of a step may fall to the other side.
        tolerance = 0.1 if name == "tiny-cache" else 2e-6 * max(1, np.abs(expected).max())
        assert np.abs(found - expected).max() <= tolerance, spec


def test_a_batch_takes_an_adapter_for_each_row_at_its_own_rank() -> None:
    model, plain = fused("tiny-int8"), load(FOLDER / "tiny-int8", operator=False)
    rows = [IDS[: 1 + index % len(IDS)] for index in range(len(SPECS))]
    found = model.generate_ids(rows, adapter=list(SPECS), max_new_tokens=8)
    assert found == [
        plain.generate_ids(row, adapter=spec, max_new_tokens=8) for row, spec in zip(rows, SPECS, strict=True)
    ]
    assert len({tuple(row) for row in found}) > 3


def test_packed_adapters_are_kept_in_their_own_form(tmp_path: Path) -> None:
    expected = fused("tiny-float").logits(IDS, adapter="four")
    for _ in range(2):
        model = load(FOLDER / "tiny-float", cache=tmp_path, operator=operator_library())
        np.testing.assert_array_equal(model.logits(IDS, adapter="four"), expected)
    other = load(FOLDER / "tiny-float", cache=tmp_path, operator=False)
    assert np.abs(other.logits(IDS, adapter="four") - expected).max() < 1e-5
    assert len(list((tmp_path / "adapters").iterdir())) == 2
    for kept in (tmp_path / "adapters").iterdir():
        kept.write_bytes(kept.read_bytes()[:-64])
    again = load(FOLDER / "tiny-float", cache=tmp_path, operator=operator_library())
    np.testing.assert_array_equal(again.logits(IDS, adapter="four"), expected)


def test_mixing_keeps_one_copy_of_an_adapter_that_stands_twice() -> None:
    opened = open_parts(FOLDER / "tiny-float", library=operator_library())
    one, both = (opened.adapters.find_rows(rows) for rows in (["one", "four"], ["one", "four", "four:0.5", "one"]))
    assert one.arrays[FACTORS].nbytes == both.arrays[FACTORS].nbytes
    assert (one.rows, both.rows) == (2, 4)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if edgelora-ops were installed."""
    package: Any = types.ModuleType("edgelora_ops")
    package.library_path = operator_library
    monkeypatch.setitem(sys.modules, "edgelora_ops", package)


def test_verify_and_bench_look_at_the_fused_graph(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch)
    folder = tmp_path / "a"
    shutil.copytree(FOLDER / "tiny-int4", folder)
    report = verify_artifact(folder)
    assert report.passed, report
    assert report.checks[-1].name == "fused"
    assert "nats from the graph with slots" in report.checks[-1].detail
    assert main(["bench", str(folder), "--rounds", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["operator"] is True
    assert main(["bench", str(folder), "--rounds", "1", "--json", "--no-operator"]) == 0
    assert json.loads(capsys.readouterr().out)["operator"] is False

    manifest = read_manifest(folder)
    graph = onnx.load(folder / "decoder.fused.onnx", load_external_data=False)
    node = next(node for node in graph.graph.node if node.op_type == "LowRank")
    next(item for item in node.attribute if item.name == "slot").i = 4  # the adapter's factors of another layer
    onnx.save(graph, folder / "decoder.fused.onnx")
    files = {**manifest.files, "decoder.fused.onnx": file_info(folder / "decoder.fused.onnx")}
    (folder / "manifest.json").write_text(dataclasses.replace(manifest, files=files).to_json())
    report = verify_artifact(folder)
    assert [check.name for check in report.checks if not check.passed] == ["fused"]


def test_the_installed_package_is_used_unless_it_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    original = Graph.__init__

    def record(graph: Graph, path: Path, *rest: Any) -> None:
        opened.append(path.name)
        original(graph, path, *rest)

    monkeypatch.setattr(Graph, "__init__", record)
    install(monkeypatch)
    for given, file in ((None, "fused"), (True, "fused"), (False, "slots")):
        load(FOLDER / "tiny-float", operator=given)
        assert opened[-1] == {"fused": "decoder.fused.onnx", "slots": "decoder.onnx"}[file]
    load(FOLDER / "tiny-web")
    assert opened[-1] == "decoder.onnx", "there is no fused one"
    monkeypatch.setitem(sys.modules, "edgelora_ops", None)
    load(FOLDER / "tiny-float")
    with pytest.raises(InputError, match="edgelora-ops is not installed; run `pip install edgelora-ops`"):
        load(FOLDER / "tiny-float", operator=True)


def test_what_is_no_library_or_has_no_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file; give operator=PATH"):
        load(FOLDER / "tiny-float", operator=tmp_path / "no.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(InputError, match=r"text\.so cannot be loaded as operators"):
        load(FOLDER / "tiny-float", operator=tmp_path / "text.so").logits(IDS, adapter="one")
    with pytest.raises(InputError, match="has no fused graph"):
        load(FOLDER / "tiny-web", operator=operator_library())


def test_a_fused_graph_with_other_inputs_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    shutil.copytree(FOLDER / "tiny-float", folder)
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    (folder / "manifest.json").write_text(text.replace('"fused": "decoder.fused.onnx"', '"fused": "decoder.onnx"'))
    assert read_manifest(folder).graph.fused == "decoder.onnx"
    with pytest.raises(ArtifactError, match=r"adapter\.blocks is missing"):
        load(folder, operator=operator_library())
