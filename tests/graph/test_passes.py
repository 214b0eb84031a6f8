"""Each pass alone: what it changes, what it leaves, and that a second call finds nothing to do."""

from collections import Counter
from collections.abc import Callable, Sequence

import onnx_ir as ir
import pytest

from edgelora.errors import ConfigError
from edgelora_onnx.decoder_graph import LINEAR, DecoderGraph
from edgelora_onnx.initializers import shape_of
from edgelora_onnx.passes.add_slots import AddSlots
from edgelora_onnx.passes.drive_inputs import DriveInputs
from edgelora_onnx.passes.fuse_slots import LOW_RANK, FuseSlots
from edgelora_onnx.passes.pack_linears import PackLinears
from edgelora_onnx.passes.recognize_linears import RecognizeLinears
from edgelora_onnx.passes.select_logits import SelectLogits
from edgelora_onnx.passes.unpack_linears import UnpackLinears, weight_names
from edgelora_onnx.slots import slot_name
from edgelora_runtime.fused import BLOCKS, FACTORS, WEIGHTS

Build = Callable[[str], DecoderGraph]


def _ops(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def _always(names: Sequence[str]) -> bool:
    return True


def _recognized(decoder: DecoderGraph) -> ir.Model:
    RecognizeLinears(decoder.sources.keys())(decoder.model)
    return decoder.model


def test_recognize_names_every_weight_in_checkpoint_orientation(build_graph: Build) -> None:
    decoder = build_graph("llama")
    model = _recognized(decoder)
    assert _ops(model)["MatMul"] == 0
    assert _ops(model)["Transpose"] == 0
    assert _ops(model)[LINEAR] == 5 * 5 + 1  # q/k/v packed by the frontend, o, gate, up, down; and the head
    weights = {value.name for node in model.graph if node.op_type == LINEAR for value in node.inputs[1:] if value}
    # this model ties its head to the embedding
    assert weights == {name for name in decoder.sources if name.endswith(("proj.weight", "embed_tokens.weight"))}
    assert model.graph.outputs[0].name == "logits"
    assert not RecognizeLinears(decoder.sources.keys())(model).modified


def test_recognize_leaves_products_with_other_values_alone(build_graph: Build) -> None:
    decoder = build_graph("llama")
    before = _ops(decoder.model)["MatMul"]
    assert not RecognizeLinears(frozenset())(decoder.model).modified
    assert _ops(decoder.model)["MatMul"] == before


@pytest.mark.parametrize(("name", "splits"), [("llama", 5), ("qwen3", 10), ("phi3", 0), ("gpt2", 0)])
def test_pack_joins_projections_of_one_input(build_graph: Build, name: str, splits: int) -> None:
    decoder = build_graph(name)
    model = _recognized(decoder)
    before = _ops(model)
    assert PackLinears(_always)(model).modified == bool(splits)
    assert _ops(model)["Split"] == before["Split"] + splits
    for node in model.graph:
        linear = node.inputs[0].producer() if node.op_type == "Split" and node.inputs[0] else None
        if linear is not None and linear.op_type == LINEAR and len(linear.inputs) > 2:
            sizes = node.inputs[1].const_value.numpy().tolist()
            assert sizes == [shape_of(weight)[0] for weight in linear.inputs[1:]]
    assert not PackLinears(_always)(model).modified


def test_pack_leaves_apart_what_may_not_share_a_node(build_graph: Build) -> None:
    model = _recognized(build_graph("llama"))
    assert PackLinears(lambda names: ".layers.2." not in names[0]).call(model).modified
    gates = [name for node in model.graph if node.op_type == LINEAR for name in weight_names(node) if "gate" in name]
    alone = [weight_names(node)[0] for node in model.graph if node.op_type == LINEAR and len(node.inputs) == 2]
    assert [name for name in alone if "gate_proj" in name] == [name for name in gates if ".layers.2." in name]


def test_unpack_takes_apart_what_the_frontend_packed(build_graph: Build) -> None:
    model = _recognized(build_graph("llama"))
    before = _ops(model)
    not_third = UnpackLinears(lambda names: len(names) == 1 or ".layers.2." not in names[0])
    assert not_third(model).modified
    assert _ops(model)[LINEAR] == before[LINEAR] + 2
    concat = next(node for node in model.graph if node.op_type == "Concat")
    producers = [value.producer() for value in concat.inputs if value is not None]
    assert [weight_names(node) for node in producers if node] == [
        [f"model.layers.2.self_attn.{kind}_proj.weight"] for kind in "qkv"
    ]
    assert not not_third(model).modified
    assert not PackLinears(lambda names: ".layers.2." not in names[0])(build_graph("phi3").model).modified


def test_drive_inputs_replaces_the_mask_by_two_counters(build_graph: Build) -> None:
    model = build_graph("llama").model
    DriveInputs()(model)
    names = [value.name for value in model.graph.inputs]
    assert names[:3] == ["input_ids", "seqlens_k", "total_sequence_length"]
    assert "attention_mask" not in names
    for node in model.graph:
        if node.op_type == "GroupQueryAttention":
            assert [value.name for value in node.inputs[5:7] if value] == ["seqlens_k", "total_sequence_length"]
    assert _ops(model)["ReduceSum"] == 0
    assert not DriveInputs()(model).modified


def test_drive_inputs_computes_learned_positions_in_the_graph(build_graph: Build) -> None:
    model = build_graph("gpt2").model
    DriveInputs()(model)
    assert "position_ids" not in [value.name for value in model.graph.inputs]
    assert _ops(model)["Range"] == 1


def test_select_logits_gathers_in_front_of_the_head(build_graph: Build) -> None:
    decoder = build_graph("qwen3")
    model = _recognized(decoder)
    DriveInputs()(model)
    SelectLogits()(model)
    assert [value.name for value in model.graph.inputs][3] == "logits_positions"
    gather = next(node for node in model.graph if node.op_type == "GatherND")
    assert [user.inputs[1].name for user in gather.outputs[0].consumers()] == ["lm_head.weight"]
    assert str(model.graph.outputs[0].shape) == "[batch,positions,512]"


def test_slots_describe_their_modules_and_shapes(build_graph: Build) -> None:
    decoder = build_graph("llama")
    model = _recognized(decoder)
    PackLinears(_always)(model)
    add_slots = AddSlots(decoder.sources)
    assert add_slots(model).modified
    first = add_slots.slots[0]
    assert first.name == "model.layers.0.self_attn.q_k_v_proj"
    assert (first.in_features, first.out_features) == (96, 96 + 32 + 32)
    assert [(part.module.rsplit(".", 1)[1], part.offset, part.out_features) for part in first.parts] == [
        ("q_proj", 0, 96),
        ("k_proj", 96, 32),
        ("v_proj", 128, 32),
    ]
    assert len(add_slots.slots) == 5 * 4
    assert all("lm_head" not in slot.name for slot in add_slots.slots)
    shapes = {value.name: str(value.shape) for value in model.graph.inputs}
    assert shapes[first.a].endswith(f",96,{first.name}.rank]")
    assert shapes[first.b].endswith(f"{first.name}.rank,160]")


def test_fused_slots_are_one_node_each_over_three_inputs(build_graph: Build) -> None:
    decoder = build_graph("llama")
    model = _recognized(decoder)
    PackLinears(_always)(model)
    before = [value.name for value in model.graph.inputs], len(model.graph)
    add_slots = AddSlots(decoder.sources)
    add_slots(model)
    FuseSlots(add_slots.slots)(model)
    assert [value.name for value in model.graph.inputs] == [*before[0], FACTORS, BLOCKS, WEIGHTS]
    nodes = [node for node in model.graph if node.op_type == LOW_RANK]
    assert len(model.graph) == before[1] + len(nodes)
    assert [node.attributes["slot"].as_int() for node in nodes] == list(range(len(add_slots.slots)))
    assert list(nodes[0].attributes["columns"].as_ints()) == [0, 96, 128, 160]
    assert nodes[0].attributes["in_features"].as_int() == 96
    for node, slot in zip(nodes, add_slots.slots, strict=True):
        x, y = node.inputs[:2]
        assert y is not None
        linear = y.producer()
        assert linear is not None
        assert (linear.op_type, linear.inputs[0]) == (LINEAR, x)
        assert [use.node.op_type for use in y.uses()] == [LOW_RANK], "nobody reads what is not adapted"
        assert node.outputs[0].name == f"{slot.name}.adapted"
    assert not FuseSlots(())(model).modified


def test_slots_for_some_modules_bring_those_that_are_packed_with_them(build_graph: Build) -> None:
    decoder = build_graph("llama")
    model = _recognized(decoder)
    PackLinears(_always)(model)
    before = len(model.graph)
    add_slots = AddSlots(decoder.sources, ["v_proj", "down_proj"])
    add_slots(model)
    endings = [slot.name.rsplit(".", 1)[1] for slot in add_slots.slots]
    assert endings == ["q_k_v_proj", "down_proj"] * 5
    assert len(model.graph) == before + 3 * len(add_slots.slots)
    with pytest.raises(
        ConfigError, match=r"no linear of the layers is called lm_head, w; there are down_proj, gate_proj"
    ):
        AddSlots(decoder.sources, ["w", "lm_head", "v_proj"])(model)


def test_rows_of_one_tensor_are_one_part(build_graph: Build) -> None:
    for name, module in (("phi3", "model.layers.0.self_attn.qkv_proj"), ("gpt2", "transformer.h.0.attn.c_attn")):
        decoder = build_graph(name)
        add_slots = AddSlots(decoder.sources)
        add_slots(_recognized(decoder))
        assert [part.module for part in add_slots.slots[0].parts] == [module]
        assert add_slots.slots[0].name == module


def test_slot_names() -> None:
    assert slot_name(["a.mlp.gate_proj", "a.mlp.up_proj"]) == "a.mlp.gate_up_proj"
    assert slot_name(["a.o_proj"]) == "a.o_proj"
