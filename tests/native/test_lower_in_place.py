"""The fused twin multiplies with the mapped codes themselves, and answers like the graph of standard operators."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgelora.artifact.store import add_adapter
from edgelora_onnx.passes.fuse_slots import LOW_RANK
from edgelora_onnx.passes.lower_attention import LowerAttention
from edgelora_onnx.passes.lower_in_place import EMBED, LINEAR, LowerInPlace
from edgelora_runtime import load
from edgelora_runtime.manifest import read_manifest
from tests.operator_library import operator_library
from tests.tiny import write_adapter, write_artifact, write_checkpoint

IDS = [7, 8, 9, 200, 31, 4, 77]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("lower") / "checkpoint")


@pytest.mark.parametrize("quant", ["int2", "int4", "int8"])
def test_answers_are_those_of_standard_operators(quant: str, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write_artifact(checkpoint, folder, quant, level=4)
    add_adapter(folder, "one", write_adapter(tmp_path / "adapter"), probe=False)
    plain, fused = load(folder, operator=False), load(folder, operator=operator_library())
    for spec in ("none", "one"):
        for ids in (IDS[:1], IDS):  # one token, and a tile
            expected, found = plain.logits(ids, adapter=spec), fused.logits(ids, adapter=spec)
            apart = np.abs(found - expected) / np.abs(expected).max()
            # An activation at the edge of a step may fall to the other side, which later layers carry on. Two bits:
            # onnxruntime leaves activations in floats.
            assert apart.max() < 0.1 and np.median(apart) < (0.02 if quant == "int2" else 1e-3)
            assert np.abs(expected).max() > 0.1


def test_nothing_is_left_that_would_be_packed(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write_artifact(checkpoint, folder, "int4", level=4)
    standard, fused = ir.load(folder / "decoder.onnx"), ir.load(folder / "decoder.fused.onnx")
    before, after = (Counter(node.op_type for node in model.graph) for model in (standard, fused))
    assert after[LINEAR] == before["MatMulNBits"] > 0
    assert after[EMBED] == before["GatherBlockQuantized"] == 1
    assert not {"MatMulNBits", "GatherBlockQuantized", LOW_RANK} & set(after)
    slots = [node for node in fused.graph if "slot" in node.attributes]
    assert len(slots) == after[LINEAR] - 1 == len(read_manifest(folder).slots), "all but the head"
    assert {node.op_type for node in slots} == {LINEAR}
    constants = {name: value.const_value for name, value in fused.graph.initializers.items()}
    weights = {name: item for name, item in constants.items() if isinstance(item, ir.ExternalTensor)}
    assert not [node for node in fused.graph if node.op_type == "Cast" and node.inputs[0].name in constants]
    # One table for the embedding and the head, and no two initializers of one place.
    places = [(item.offset, item.length) for item in weights.values()]
    assert len(set(places)) == len(places)
    assert {item.dtype for item in weights.values()} >= {ir.DataType.UINT8, ir.DataType.FLOAT16}


def test_floats_stay_with_onnxruntime(checkpoint: Path, tmp_path: Path) -> None:
    """At accuracy level 0 its own tiles are the faster ones; the embedding reads the same rows either way."""
    folder = tmp_path / "a"
    write_artifact(checkpoint, folder, "int4", level=0)
    model = ir.load(folder / "decoder.fused.onnx")
    counts = Counter(node.op_type for node in model.graph)
    assert counts["MatMulNBits"] > 0 == counts[LINEAR]
    assert counts[EMBED] == 1
    assert counts[LOW_RANK] == len(read_manifest(folder).slots)
    assert not LowerInPlace()(model).modified


def test_columns_in_another_order_stay_with_onnxruntime() -> None:
    x = ir.Value(name="x", shape=ir.Shape([1, 32]), type=ir.TensorType(ir.DataType.FLOAT))
    inputs = [
        ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
        for name, shape, dtype in (
            ("codes", [4, 1, 16], ir.DataType.UINT8),
            ("scales", [4, 1], ir.DataType.FLOAT),
            ("order", [32], ir.DataType.INT32),
        )
    ]
    attributes = {"K": 32, "N": 4, "bits": 4, "block_size": 32, "accuracy_level": 4}
    codes, scales, order = inputs
    node = ir.node("MatMulNBits", [x, codes, scales, None, order], attributes, domain="com.microsoft", num_outputs=1)
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=inputs, opset_imports={"": 21})
    assert not LowerInPlace()(ir.Model(graph, ir_version=10)).modified


def test_attention_with_more_than_is_known_stays_with_onnxruntime(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write_artifact(checkpoint, folder, "int4", level=4)
    model = ir.load(folder / "decoder.fused.onnx")
    nodes = [node for node in model.graph if node.op_type == "GroupQueryAttention"]
    assert nodes and {node.domain for node in nodes} == {"edgelora"}
    for node in nodes:
        node.domain = "com.microsoft"
    nodes[0].attributes["smooth_softmax"] = ir.AttrInt64("smooth_softmax", 1)
    nodes[1].attributes["smooth_softmax"] = ir.AttrInt64("smooth_softmax", 0)
    assert LowerAttention()(model).modified
    assert [node.domain for node in nodes] == ["com.microsoft", *["edgelora"] * (len(nodes) - 1)]
    assert "smooth_softmax" not in nodes[1].attributes
    nodes[1].domain = "com.microsoft"
    nodes[1].resize_inputs(11)
    nodes[1].replace_input_with(10, nodes[1].inputs[0])  # a bias of scores
    assert not LowerAttention()(model).modified
