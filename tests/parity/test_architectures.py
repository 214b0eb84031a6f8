"""Every architecture: the exported graph equals PyTorch over prefill and eight decode steps, adapters off and on."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgelora.checkpoint.config import ARCHITECTURES
from edgelora.errors import CheckpointError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora_onnx import OnnxExporter
from tests.operator_library import operator_library
from tests.parity.architectures import MODELS, TorchCheckpoint, checkpoint_of, random_model
from tests.parity.both import answer_both

PREFILL, DECODE = 12, 8


def test_every_supported_architecture_is_tested() -> None:
    assert set(MODELS) == set(ARCHITECTURES)


@pytest.mark.parametrize("quant", ["none", "int4"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_graph_equals_torch(name: str, quant: str, tmp_path: Path) -> None:
    model = random_model(name)
    checkpoint = checkpoint_of(model, name)
    grid = plan_grid(checkpoint, parse_quant(quant))
    exported = OnnxExporter().export(grid, tmp_path, accuracy_level=0)
    shipped = {key: grid.value(key) for key in checkpoint.names()}
    ids = np.random.default_rng(1).integers(0, exported.vocab_size, PREFILL + DECODE)
    answers = []
    for rank in (0, 1, 64):
        expected, found = answer_both(model, exported, tmp_path, shipped, ids, PREFILL, rank)
        np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)
        answers.append(expected)
    assert np.abs(answers[0] - answers[1]).max() > 1e-2, "an adapter that changes nothing would prove nothing"


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_fused_graph_equals_torch(name: str, tmp_path: Path) -> None:
    """With attention of our own, over prompts longer than any window."""
    model = random_model(name)
    checkpoint = checkpoint_of(model, name)
    grid = plan_grid(checkpoint, parse_quant("int4"))
    exported = OnnxExporter().export(grid, tmp_path, accuracy_level=0, fused=True)
    shipped = {key: grid.value(key) for key in checkpoint.names()}
    ids = np.random.default_rng(1).integers(0, exported.vocab_size, PREFILL + DECODE)
    expected, found = answer_both(model, exported, tmp_path, shipped, ids, PREFILL, 0, library=operator_library())
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)
    graph = ir.load(tmp_path / str(exported.fused_file)).graph
    attention = {node.domain for node in graph if node.op_type == "GroupQueryAttention"}
    assert attention == {"edgelora"}


def test_slots_cover_every_linear_of_the_layers(tmp_path: Path) -> None:
    for name in ("llama", "phi3", "gpt2"):
        model = random_model(name)
        checkpoint = checkpoint_of(model, name)
        folder = tmp_path / name
        folder.mkdir()
        exported = OnnxExporter().export(plan_grid(checkpoint, parse_quant("int4")), folder, 0)
        linears = {
            module
            for module, layer in model.named_modules()
            if type(layer).__name__ in ("Linear", "Conv1D") and "lm_head" not in module
        }
        assert {part.module for slot in exported.slots for part in slot.parts} == linears


def test_unknown_architecture_is_refused_in_one_line(tmp_path: Path) -> None:
    checkpoint = TorchCheckpoint("odd", {"model_type": "mamba"}, {})
    grid = plan_grid(checkpoint, parse_quant("none"))
    with pytest.raises(
        CheckpointError, match=r"odd: architecture 'mamba' is not supported; supported are gemma, .*smollm3"
    ):
        OnnxExporter().export(grid, tmp_path, 0)


def test_missing_and_misshapen_tensors_are_listed_together(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(random_model("llama"), "llama")
    tensors = dict(checkpoint.tensors)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.norm.weight"] = np.ones(7, np.float32)
    broken = TorchCheckpoint("broken", checkpoint.config, tensors)
    with pytest.raises(
        CheckpointError, match=r"up_proj.weight is missing; model.norm.weight is \(7,\), expected \(96,\)"
    ):
        OnnxExporter().export(plan_grid(broken, parse_quant("none")), tmp_path, 0)
