"""DoRA's gain beside a linear: what the graph then computes, and that both twins are what they were without it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgelora.grid.blocks import dequantize
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.grid.row_codes import round_rows, row_values
from edgelora_onnx import OnnxExporter
from edgelora_onnx.decoder_graph import DecoderGraph
from edgelora_onnx.passes.add_slots import AddSlots
from edgelora_onnx.passes.fuse_slots import LOW_RANK, FuseSlots
from edgelora_onnx.passes.pack_linears import PackLinears
from edgelora_onnx.passes.recognize_linears import RecognizeLinears
from edgelora_onnx.passes.remove_slots import RemoveSlots
from edgelora_onnx.slots import add_delta
from edgelora_runtime.fused import BLOCKS, FACTORS, WEIGHTS
from edgelora_runtime.manifest import Slot, SlotPart
from tests.tiny import write_checkpoint

Build = Callable[[str], DecoderGraph]
WIDE = {
    "MatMulNBits": ("cpu", "int4", 0),
    "MatMulIntegerToFloat": ("web-wasm", "int4", 4),
    "MatMul": ("cpu", "none", 0),
}


def _slotted(build_graph: Build, gains: bool) -> tuple[ir.Model, AddSlots]:
    decoder = build_graph("llama")
    RecognizeLinears(decoder.sources.keys())(decoder.model)
    PackLinears(lambda _: True)(decoder.model)
    add_slots = AddSlots(decoder.sources, gains=gains)
    add_slots(decoder.model)
    return decoder.model, add_slots


def _ops(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def test_both_twins_are_those_of_slots_without_gains(build_graph: Build) -> None:
    for twin in (FuseSlots, RemoveSlots):
        (plain, plain_slots), (gained, slots) = (_slotted(build_graph, gains) for gains in (False, True))
        count = len(slots.slots)
        assert _ops(gained) - _ops(plain) == Counter({"Add": count, "Mul": count})
        assert [slot.gain for slot in slots.slots] == [f"{slot.name}.lora_gain" for slot in plain_slots.slots]
        shapes = {value.name: str(value.shape) for value in gained.graph.inputs}
        first = slots.slots[0]
        assert shapes[first.gain] == f"[{first.name}.n,1,{first.out_features}]"
        twin(plain_slots.slots)(plain)
        twin(slots.slots)(gained)
        assert _ops(gained) == _ops(plain)
        assert [value.name for value in gained.graph.inputs] == [value.name for value in plain.graph.inputs]
    fused, slots = _slotted(build_graph, True)
    FuseSlots(slots.slots)(fused)
    assert [value.name for value in fused.graph.inputs][-3:] == [FACTORS, BLOCKS, WEIGHTS]
    nodes = [node for node in fused.graph if node.op_type == LOW_RANK]
    assert [node.inputs[1].producer().op_type for node in nodes] == ["Linear"] * len(nodes)  # type: ignore[union-attr]


def test_it_acts_before_the_bias_and_each_row_has_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    weight, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((7, 5), (5,)))

    def value(name: str, shape: list[str | int]) -> ir.Value:
        return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))

    x, a, b = value("x", ["n", "t", 7]), value("a", ["n", 7, "r"]), value("b", ["n", "r", 5])
    gain = value("gain", ["n", 1, 5])
    constants = [
        ir.Value(name=name, const_value=ir.Tensor(array, name=name), shape=ir.Shape(array.shape))
        for name, array in (("weight", weight), ("bias", bias))
    ]
    product = ir.node("MatMul", [x, constants[0]], num_outputs=1)
    shifted = ir.node("Add", [product.outputs[0], constants[1]], num_outputs=1)
    product.outputs[0].name, shifted.outputs[0].name = "product", "y"
    shifted.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    shifted.outputs[0].shape = ir.Shape(["n", "t", 5])
    graph = ir.Graph([x, a, b, gain], shifted.outputs, nodes=[product, shifted], initializers=constants, name="g",
                     opset_imports={"": 20})  # fmt: skip
    slot = Slot("slot", "a", "b", 7, 5, (SlotPart("slot", 0, 5),), "gain")
    add_delta(graph, product, slot, a, b, gain)
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "g.onnx")
    session = ort.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    shapes = {"x": (3, 4, 7), "a": (3, 7, 2), "b": (3, 2, 5), "gain": (3, 1, 5)}
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    (found,) = session.run(None, feeds)
    expected = (feeds["x"] @ weight) * (1 + feeds["gain"]) + feeds["x"] @ feeds["a"] @ feeds["b"] + bias
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    nothing = {"a": np.zeros((1, 7, 0), np.float32), "b": np.zeros((1, 0, 5), np.float32),
               "gain": np.zeros((1, 1, 5), np.float32)}  # fmt: skip
    (base,) = session.run(None, {**feeds, **nothing})
    assert np.array_equal(base, session.run(None, {**feeds, **nothing, "gain": np.zeros((3, 1, 5), np.float32)})[0])
    np.testing.assert_allclose(base, feeds["x"] @ weight + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gains", [False, True])
@pytest.mark.parametrize("operator", WIDE)
def test_weights_are_read_back_as_they_ship(tmp_path: Path, operator: str, gains: bool) -> None:
    from edgelora.artifact.targets import find_target
    from edgelora.checkpoint.folder import open_checkpoint

    target, quant, level = WIDE[operator]
    grid = plan_grid(open_checkpoint(str(write_checkpoint(tmp_path / "base"))), parse_quant(quant))
    (tmp_path / "out").mkdir()
    op = find_target(target).linear_op
    exported = OnnxExporter().export(grid, tmp_path / "out", level, linear_op=op, gains=gains)
    asked = {"model.layers.1.self_attn.k_proj", "model.layers.0.mlp.down_proj", "model.layers.0.mlp.up_proj"}
    read = dict(OnnxExporter().slot_weights(tmp_path / "out" / exported.graph_file, exported.slots, asked))
    assert read.keys() == asked
    for module, weight in read.items():
        name = f"{module}.weight"
        if operator == "MatMul":
            expected = grid.value(name)
        elif operator == "MatMulNBits":
            expected = dequantize(grid.matrix(name))
        else:
            expected = row_values(round_rows(grid.matrix(name)))
        np.testing.assert_array_equal(weight, expected)
