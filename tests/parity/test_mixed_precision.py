"""Grids that give tensors specs of their own: the graph still equals PyTorch, and packs only what is alike."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from edgelora.checkpoint.names import is_transposed
from edgelora.grid.make import Grid, parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora.values import Checkpoint, QuantSpec
from edgelora_onnx import OnnxExporter
from tests.parity.architectures import checkpoint_of, load_values, random_model
from tests.parity.decoder import Decoder, no_adapter, random_adapter

LAYER = "model.layers.{}.{}_proj.weight"
LLAMA = {
    LAYER.format(0, "self_attn.q"): QuantSpec(8, 32),
    LAYER.format(1, "self_attn.v"): QuantSpec(2, 16, symmetric=False),
    LAYER.format(1, "mlp.up"): QuantSpec(8, 16),
    LAYER.format(2, "mlp.down"): QuantSpec(2, 32, symmetric=False),
    **{LAYER.format(3, f"self_attn.{kind}"): QuantSpec(2, 16, symmetric=False) for kind in "qkv"},
    "model.embed_tokens.weight": QuantSpec(8, 32),
}
GPT2 = {
    "transformer.h.0.attn.c_attn.weight": QuantSpec(8, 16),
    "transformer.h.1.attn.c_attn.weight": QuantSpec(2, 16, symmetric=False),
    "transformer.h.2.mlp.c_fc.weight": QuantSpec(2, 32),
}
CASES = {"llama": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA, "phi3": {}, "gpt2": GPT2}
CASES["phi3"] = {
    "model.layers.0.self_attn.qkv_proj.weight": QuantSpec(8, 16),
    "model.layers.1.mlp.gate_up_proj.weight": QuantSpec(2, 16, symmetric=False),
}


def _mixed_grid(checkpoint: Checkpoint, overrides: dict[str, QuantSpec]) -> Grid:
    return plan_grid(checkpoint, replace(parse_quant("int4"), overrides=overrides))


@pytest.mark.parametrize("name", sorted(CASES))
def test_mixed_graph_equals_torch(name: str, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(random_model(name), name)
    grid = _mixed_grid(checkpoint, CASES[name])
    assert {key: grid.specs[key] for key in CASES[name]} == CASES[name]
    exported = OnnxExporter().export(grid, tmp_path, accuracy_level=0)
    model = load_torch(checkpoint, grid)
    ids = np.random.default_rng(2).integers(0, exported.vocab_size, 14)
    for rank in (0, 3):
        adapter, deltas = random_adapter(exported, rank, seed=rank) if rank else (no_adapter(exported), {})
        values = {key: grid.value(key) for key in checkpoint.names()}
        for module, delta in deltas.items():
            values[f"{module}.weight"] = values[f"{module}.weight"] + (
                delta.T if is_transposed(f"{module}.weight") else delta
            )
        load_values(model, values)
        with torch.inference_mode():
            expected = model(torch.tensor(ids)[None]).logits[0].numpy()
        decoder = Decoder(tmp_path, exported, adapter)
        found = np.concatenate([decoder.step(ids[:12]), decoder.step(ids[12:13]), decoder.step(ids[13:])])
        np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)
    linears = {f"{part.module}.weight" for slot in exported.slots for part in slot.parts}
    assert linears == {key for key in grid.specs if ".layers." in key or ".h." in key}


def test_slots_and_nodes_follow_the_specs(tmp_path: Path) -> None:
    grid = _mixed_grid(checkpoint_of(random_model("llama"), "llama"), LLAMA)
    exported = OnnxExporter().export(grid, tmp_path, accuracy_level=0)
    kinds = {
        layer: [slot.name.rsplit(".", 1)[1] for slot in exported.slots if f".layers.{layer}." in slot.name]
        for layer in range(5)
    }
    apart, together = ["q_proj", "k_proj", "v_proj"], ["q_k_v_proj"]
    assert kinds[0] == [*apart, "o_proj", "gate_up_proj", "down_proj"]
    assert kinds[1][:4] == [*apart, "o_proj"] and sorted(kinds[1][4:]) == ["down_proj", "gate_proj", "up_proj"]
    assert kinds[2] == kinds[3] == kinds[4] == [*together, "o_proj", "gate_up_proj", "down_proj"]
    nodes = [node for node in ir.load(tmp_path / exported.graph_file).graph if node.op_type == "MatMulNBits"]
    bits = Counter(node.attributes["bits"].as_int() for node in nodes)
    assert bits == {8: 1 + 1 + 1, 2: 1 + 1 + 1, 4: len(nodes) - 6}  # q, up, head; v, down, q/k/v of layer 3


def test_a_float_part_is_left_apart(tmp_path: Path) -> None:
    """A grid may quantize k and leave q in float; one node cannot hold both."""
    checkpoint = checkpoint_of(random_model("llama"), "llama")
    grid = plan_grid(checkpoint, parse_quant("int4"))
    name = LAYER.format(0, "self_attn.q")
    grid = replace(grid, matrices={key: matrix for key, matrix in grid.matrices.items() if key != name})
    exported = OnnxExporter().export(grid, tmp_path, accuracy_level=0)
    assert [slot.name.rsplit(".", 1)[1] for slot in exported.slots[:3]] == ["q_proj", "k_proj", "v_proj"]
    ids = np.arange(7)
    with torch.inference_mode():
        expected = load_torch(checkpoint, grid)(torch.tensor(ids)[None]).logits[0].numpy()
    found = Decoder(tmp_path, exported, no_adapter(exported)).step(ids)
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)
