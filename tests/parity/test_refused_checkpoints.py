"""Folders that no graph holds exactly: one line when they are opened, before any work.

Knows nothing about what is right; the parity tests beside it do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import save_file

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import CheckpointError, ConfigError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.open_base import open_base
from edgelora_onnx import OnnxExporter
from tests.parity.architectures import DIMS, MODELS, random_model
from tests.parity.folders import changed, write

_LINEAR = {"rope_type": "linear", "factor": 3.0}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "phi"}, r"architecture 'phi' is not supported; supported are gemma, .*smollm3"),
        ({"model_type": "gemma4"}, "architecture 'gemma4' is not supported"),
        ({"head_dim": 8}, "heads of 8 values, onnxruntime rotates multiples of 16"),
        ({"head_dim": 100}, "heads of 100 values"),
        ({"hidden_act": "sigmoid_of_mine"}, "activation 'sigmoid_of_mine', the graph has gelu"),
        ({"rope_scaling": {"rope_type": "mrope", "mrope_section": [2, 2]}}, "scales rotary positions by 'mrope'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope_scaling lacks factor, which linear needs"),
        ({"rope_scaling": {"rope_type": "linear", "factor": "two"}}, r"rope_scaling.factor is 'two'; expected numbers"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "magic": 1}}, "has 'magic', which linear does not"),
        ({"rope_scaling": [2.0]}, "rope_scaling is a?"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, "rope_theta 10000.0, and 500000.0 in its"),
        (
            {"rope_scaling": _LINEAR, "rope_parameters": {"rope_type": "linear", "factor": 9.0, "rope_theta": 1e4}},
            "rope_parameters and rope_scaling of config.json say different things",
        ),
        ({"sliding_window": 8}, "sliding_window is 8, which llama does not have"),
        (
            {"attention_multiplier": 0.3, "logits_scaling": 2.0},
            "logits_scaling is 2.0, which llama does",
        ),
        ({"no_rope_layers": [1, 0, 1, 1, 1]}, "no_rope_layers is a list of 5, which llama does not have"),
        ({"rope_interleaved": True}, "rope_interleaved is True"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5, which llama does not have"),
        (
            {"num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": None},
            "hidden_size 96 is no multiple of 5 heads",
        ),
        ({"num_attention_heads": "six"}, "num_attention_heads is 'six'"),
        ({"rope_theta": None}, "rope_theta is None; expected a number above zero"),
    ],
)
def test_what_no_graph_holds_is_refused_when_it_is_opened(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        write(tmp_path / "model", tf.LlamaForCausalLM(tf.LlamaConfig(**DIMS)), changed(**changes))
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def test_softcaps_of_gemma3_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"final_logit_softcapping is 5.0"):
        write(tmp_path / "model", MODELS["gemma3_text"](), changed(final_logit_softcapping=5.0))


def _longrope() -> Any:
    scaling = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    sizes = {**DIMS, "pad_token_id": 0, "sliding_window": None, "original_max_position_embeddings": 64}
    return tf.Phi3ForCausalLM(tf.Phi3Config(**sizes, rope_scaling=scaling))


def test_longrope_beyond_its_original_context_is_refused(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "model", _longrope())
    assert OnnxExporter().export(plan_grid(checkpoint, parse_quant("none")), tmp_path, 0).context_length == 64
    with pytest.raises(ConfigError, match="--context-length is 65; model has positions for 64 tokens"):
        OnnxExporter().export(plan_grid(checkpoint, parse_quant("none")), tmp_path, 0, context_length=65)


def test_a_factor_of_longrope_that_the_lengths_contradict_is_refused(tmp_path: Path) -> None:
    scaling = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8, "factor": 9.0}
    with pytest.raises(CheckpointError, match=r"rope_scaling.factor is 9.0, but its lengths are 256 and 64"):
        write(tmp_path / "model", _longrope(), changed(rope_scaling=scaling))
    write(tmp_path / "right", _longrope(), changed(rope_scaling={**scaling, "factor": 4.0}))


def test_a_tensor_that_nothing_uses_is_named(tmp_path: Path) -> None:
    model = random_model("mistral")
    model.save_pretrained(tmp_path / "model")
    extra = {f"model.layers.{i}.self_attn.q_proj.bias": torch.ones(96) for i in range(5)}
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file({**tensors, **extra}, tmp_path / "model" / "model.safetensors")
    path = str(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"model.layers.0.self_attn.q_proj.bias is unexpected") as opened:
        open_base(path)
    with pytest.raises(CheckpointError, match=r"model.layers.0.self_attn.q_proj.bias is not used") as exported:
        OnnxExporter().export(plan_grid(open_checkpoint(path), parse_quant("none")), tmp_path, 0)
    assert max(len(str(caught.value)) for caught in (opened, exported)) < 500
