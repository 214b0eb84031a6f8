"""An adapter built into the graph as constants equals PEFT in PyTorch on the same grid."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from peft import LoraConfig, get_peft_model

from edgelora.errors import AdapterError, ConfigError
from edgelora.grid.make import Grid, parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora_onnx import OnnxExporter
from edgelora_runtime.adapter import Factors, read_adapter
from tests.parity.architectures import checkpoint_of, random_model
from tests.parity.decoder import Decoder

IDS = np.random.default_rng(3).integers(0, 512, 11)


def _grid(name: str, quant: str = "int4") -> Grid:
    return plan_grid(checkpoint_of(random_model(name), name), parse_quant(quant))


def _peft(grid: Grid, folder: Path, modules: list[str]) -> tuple[dict[str, Factors], np.ndarray]:
    """The factors that PEFT saves for ``modules``, and its logits (len(IDS), vocab_size)."""
    torch.manual_seed(4)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=12, target_modules=modules, rank_pattern={modules[-1]: 2}
    )
    model = get_peft_model(load_torch(grid.checkpoint, grid), config).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "lora_B" in key:
                value.normal_(0, 0.1)
        model.save_pretrained(folder)
        logits = model(torch.tensor(IDS)[None]).logits[0].numpy()
    return dict(read_adapter(folder).factors), logits


@pytest.mark.parametrize("quant", ["int4", "none"])
@pytest.mark.parametrize(
    ("name", "modules", "pairs"),
    [
        ("llama", ["q_proj", "v_proj", "up_proj", "down_proj"], 5 * 3),
        ("llama", ["k_proj"], 5),
        ("gpt2", ["c_attn", "c_proj"], 3 * 3),
    ],
)
def test_baked_adapter_equals_peft(name: str, modules: list[str], pairs: int, quant: str, tmp_path: Path) -> None:
    grid = _grid(name, quant)
    factors, expected = _peft(grid, tmp_path / "adapter", modules)
    exported = OnnxExporter().export(grid, tmp_path, 0, slots=(), baked=factors)
    assert exported.slots == ()
    decoder = Decoder(tmp_path, exported, {})
    found = np.concatenate([decoder.step(IDS[:8]), decoder.step(IDS[8:9]), decoder.step(IDS[9:])])
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)
    graph = ir.load(tmp_path / exported.graph_file).graph
    assert sum(name.endswith(".lora_A") for name in graph.initializers) == pairs
    assert not [value.name for value in graph.inputs if "lora" in str(value.name)]


def test_modules_without_factors_get_nothing(tmp_path: Path) -> None:
    grid = _grid("llama")
    factors, _ = _peft(grid, tmp_path / "adapter", ["o_proj"])
    module = "model.layers.1.self_attn.o_proj"
    exported = OnnxExporter().export(grid, tmp_path, 0, slots=(), baked={module: factors[module]})
    names = [name for name in ir.load(tmp_path / exported.graph_file).graph.initializers if "lora" in name]
    assert sorted(names) == [f"{module}.lora_A", f"{module}.lora_B"]


def test_slots_and_a_built_in_adapter_exclude_each_other(tmp_path: Path) -> None:
    grid = _grid("llama")
    factors, _ = _peft(grid, tmp_path / "adapter", ["o_proj"])
    with pytest.raises(ConfigError, match="either adapter slots or a built-in adapter"):
        OnnxExporter().export(grid, tmp_path, 0, baked=factors)


def test_factors_of_another_model_are_refused(tmp_path: Path) -> None:
    grid = _grid("llama")
    factors, _ = _peft(grid, tmp_path / "adapter", ["o_proj"])
    for wrong, message in (
        ({"model.layers.9.self_attn.o_proj": next(iter(factors.values()))}, "missing: model.layers.9"),
        ({"model.layers.0.mlp.down_proj": next(iter(factors.values()))}, "maps 96 to 96 features, expected 160 to 96"),
    ):
        with pytest.raises(AdapterError, match=message):
            OnnxExporter().export(grid, tmp_path, 0, slots=(), baked=wrong)
