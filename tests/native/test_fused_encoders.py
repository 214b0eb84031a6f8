"""Fused graphs of encoders in Python and C++: conformance cases, the answers of the graph with slots, what is fused."""

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks.adapters import write_random_adapter
from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora_onnx import OnnxExporter
from edgelora_onnx.passes.fuse_rows import LOW_RANK_GELU, ROUND_ROWS, FuseRows
from edgelora_onnx.passes.fuse_slots import LOW_RANK
from edgelora_runtime import EncoderModel, load
from edgelora_runtime.manifest import TEXT_CLASSIFICATION, read_manifest
from tests import test_conformance_encoders as conformance
from tests.native import encoder_cases
from tests.native.interface import Library, Model
from tests.operator_library import operator_library
from tests.parity.encoders import TEXT_ENCODERS, random_encoder, write_encoder

FOLDER, KINDS = conformance.FOLDER, ("outputs", "classify", "each", "tag")
FUSED = sorted(path.parent.name for path in FOLDER.glob("*/encoder.fused.onnx"))
CASES = [case for case in conformance.FILE["cases"] if case["artifact"] in FUSED and case["kind"] in KINDS]
SPELLED = {"QuantizeLinear", "ReduceMax", "Abs"}
IDS = [[7, 8, 9, 80, 31, 4] * 5, [5], [6, 7, 8]]
OPENED: dict[str, Model] = {}


@functools.cache
def fused(name: str) -> EncoderModel:
    task = read_manifest(FOLDER / name).task
    return load(FOLDER / name, threads=1, task=task, operator=operator_library())  # type: ignore[call-overload,no-any-return]


def test_there_are_fused_encoders_with_cases_of_every_kind() -> None:
    assert FUSED == ["encoder-bytes", "encoder-int4"]
    assert {case["kind"] for case in CASES} == set(KINDS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['artifact']} {case['name']}"[:70])
def test_case_in_python(case: dict[str, Any]) -> None:
    getattr(conformance, f"check_{case['kind']}")(fused(case["artifact"]), case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['artifact']} {case['name']}"[:70])
def test_case_in_native(library: Library, case: dict[str, Any]) -> None:
    name = case["artifact"]
    if name not in OPENED:
        OPENED[name] = library.load(FOLDER / name, operators=operator_library(), threads=1)
    encoder_cases.check(OPENED[name], case)


def export(name: str, folder: Path, quant: str = "int8") -> Path:
    """An artifact as `edgelora export` writes it for a processor, with two adapters beside it."""
    base = write_encoder(random_encoder(name, TEXT_CLASSIFICATION), folder / "base")
    grid = plan_grid(open_checkpoint(str(base), TEXT_CLASSIFICATION), parse_quant(quant))
    export_artifact(Parts(grid), folder / "artifact", Build(OnnxExporter(), ExportOptions()))
    for rank in (1, 8):
        write_random_adapter(read_manifest(folder / "artifact"), rank, folder / str(rank), scale=0.2, n_labels=3)
    return folder / "artifact"


def open_both(folder: Path) -> tuple[EncoderModel, EncoderModel]:
    """By slots and fused, each with the adapters."""
    opened = []
    for operator in (False, operator_library()):
        model = load(folder, threads=1, task=TEXT_CLASSIFICATION, operator=operator)
        for rank in ("1", "8"):
            model.load_adapter(f"rank-{rank}", folder.parent / rank, labels=["a", "b", "c"], trust=True)
        opened.append(model)
    return opened[0], opened[1]


def count(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in ir.load(path).graph)


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_answers_are_those_of_the_slots(name: str, tmp_path: Path) -> None:
    folder = export(name, tmp_path)
    plain, fast = open_both(folder)
    mixed = ["rank-8", "none", "rank-1"]
    # After the mixed rows the adapters lie in their memory.
    for adapter in ("none", *([] if "deberta" in name else [mixed]), "rank-8", "rank-1", "rank-1:0.5+rank-8:-0.3"):
        expected, found = (np.stack(model.outputs(IDS, adapter=adapter)) for model in (plain, fast))
        # A token's number at the edge of a step may fall to the other side, which later layers carry on.
        np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max(), err_msg=str(adapter))
        assert np.median(np.abs(found - expected)) < 2e-3 * np.abs(expected).max()


def test_a_slot_takes_all_that_follows_a_product_and_nothing_is_spelled_out(tmp_path: Path) -> None:
    folder = export("bert", tmp_path)
    before, after = count(folder / "encoder.onnx"), count(folder / "encoder.fused.onnx")
    assert before["QuantizeLinear"] == after[ROUND_ROWS] == 8, "of two layers: q, k and v together, and three more"
    assert after["MatMulIntegerToFloat"] == before["MatMulIntegerToFloat"] == 8
    assert not SPELLED & set(after)
    nodes = list(ir.load(folder / "encoder.fused.onnx").graph)
    slots = [node for node in nodes if node.op_type in (LOW_RANK, LOW_RANK_GELU)]
    assert [len(node.inputs) for node in slots] == [7, 8, 7, 8] * 2, "those in front of a norm add the residual"
    assert [node.op_type for node in slots] == [LOW_RANK, LOW_RANK, LOW_RANK_GELU, LOW_RANK] * 2
    assert before["Erf"] == 2 and not after["Erf"]
    assert [len(node.outputs) for node in slots] == [3, 1, 1, 1] * 2 and before["Split"] == 2 and not after["Split"]
    assert before["Add"] - after["Add"] >= 8 + 8 + 12 + 4 + 2, "reaches, deltas, biases, residuals, one of GELU"


def test_a_graph_without_rounded_rows_stays_as_it_is() -> None:
    model = ir.load(FOLDER / "encoder-int4" / "encoder.onnx")
    assert not FuseRows()(model).modified


def test_native_answers_like_python(library: Library, tmp_path: Path) -> None:
    folder = export("roberta", tmp_path)
    _, fast = open_both(folder)
    model = library.load(folder, operators=operator_library(), threads=1)
    labels = b'["a", "b", "c"]'
    for rank in ("1", "8"):
        name, path = f"rank-{rank}".encode(), str(tmp_path / rank).encode()
        library.call("load_adapter_with_labels", model.handle, name, path, labels, 1)
    for adapters in (["rank-8"] * 3, ["rank-8", "rank-1", "rank-8"]):
        expected = np.stack(fast.outputs(IDS, adapter=adapters))
        found = np.array(model.outputs(IDS, adapters))
        np.testing.assert_allclose(found, expected, atol=1e-4)
