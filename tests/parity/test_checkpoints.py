"""Folders and GGUF files as people bring them: every spelling, type and setting gives PyTorch's logits.

PyTorch's side is the model itself, as it was before it was written to disk: what the files say is read by one side
alone.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.torch import save_file

from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora_onnx import OnnxExporter
from edgelora_runtime import load
from tests.parity.architectures import DIMS, MODELS, random_model, random_values
from tests.parity.folders import IDS, changed, check_logits, transformers5, write

_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
_MSCALE = {**_YARN, "mscale": 0.8, "mscale_all_dim": 0.4, "beta_fast": 16.0, "beta_slow": 2.0}
_LINEAR, _DYNAMIC = {"rope_type": "linear", "factor": 3.0}, {"rope_type": "dynamic", "factor": 2.0}
_GEMMA3_KINDS = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"]


def _llama(**changes: Any) -> Callable[[], Any]:
    return lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**{**DIMS, **changes}))


def _longrope(rotated: int) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    short, long = rng.uniform(1, 2, (2, rotated // 2)).round(3).tolist()
    return {"type": "longrope", "short_factor": short, "long_factor": long}


def _phi3(**changes: Any) -> Callable[[], Any]:
    return lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**{**DIMS, "pad_token_id": 0, "sliding_window": None, **changes}))


def _gemma3(**changes: Any) -> Callable[[], Any]:
    sizes = {**DIMS, "head_dim": 16, "sliding_window": 8, "layer_types": _GEMMA3_KINDS}
    return lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**{**sizes, **changes}))


def _gpt2(**changes: Any) -> Callable[[], Any]:
    return lambda: tf.GPT2LMHeadModel(
        tf.GPT2Config(vocab_size=DIMS["vocab_size"], n_embd=96, n_layer=3, n_head=6, n_positions=256, **changes)
    )


SETTINGS: Mapping[str, Callable[[], Any]] = {
    "llama biases": _llama(attention_bias=True, mlp_bias=True),
    "llama untied, theta": _llama(tie_word_embeddings=False, rope_theta=5e5),
    "llama linear": _llama(rope_scaling=_LINEAR),
    "llama llama3, theta": _llama(rope_scaling=_LLAMA3, rope_theta=5e5),
    "llama yarn": _llama(rope_scaling=_YARN),
    "llama yarn with mscale": _llama(rope_scaling=_MSCALE),
    "llama yarn with a factor of its own": _llama(rope_scaling={**_YARN, "attention_factor": 1.3, "truncate": False}),
    "llama dynamic": _llama(rope_scaling=_DYNAMIC),
    "llama gelu": _llama(hidden_act="gelu"),
    "llama relu": _llama(hidden_act="relu"),
    "llama head of its own size": _llama(head_dim=32),
    "mistral untied": lambda: tf.MistralForCausalLM(tf.MistralConfig(**DIMS, sliding_window=None, rope_theta=1e6)),
    "mistral tied": lambda: tf.MistralForCausalLM(tf.MistralConfig(**DIMS, sliding_window=8, tie_word_embeddings=True)),
    "qwen2 windows": lambda: tf.Qwen2ForCausalLM(
        tf.Qwen2Config(
            **DIMS, use_sliding_window=True, sliding_window=8, max_window_layers=2, rope_scaling=_YARN, rope_theta=1e6
        )
    ),
    "qwen3 biases": lambda: tf.Qwen3ForCausalLM(
        tf.Qwen3Config(**DIMS, head_dim=32, attention_bias=True, rope_scaling=_LINEAR, tie_word_embeddings=True)
    ),
    "gemma biases, untied": lambda: tf.GemmaForCausalLM(
        tf.GemmaConfig(**DIMS, head_dim=32, attention_bias=True, tie_word_embeddings=False, rope_theta=2e4)
    ),
    "gemma2 biases": lambda: tf.Gemma2ForCausalLM(
        tf.Gemma2Config(**DIMS, head_dim=16, sliding_window=8, attention_bias=True, query_pre_attn_scalar=24)
    ),
    "gemma2 no softcaps": lambda: tf.Gemma2ForCausalLM(
        tf.Gemma2Config(
            **DIMS, head_dim=16, sliding_window=8, attn_logit_softcapping=None, final_logit_softcapping=None
        )
    ),
    "gemma3 linear": _gemma3(rope_scaling={"rope_type": "linear", "factor": 8.0}, rope_local_base_freq=5e3),
    "gemma3 biases": _gemma3(attention_bias=True, query_pre_attn_scalar=24),
    "phi3 partial": _phi3(num_attention_heads=3, num_key_value_heads=3, partial_rotary_factor=0.5),
    "phi3 longrope": _phi3(
        original_max_position_embeddings=64, rope_scaling=_longrope(16), tie_word_embeddings=True, sliding_window=8
    ),
    "granite biases": lambda: tf.GraniteForCausalLM(
        tf.GraniteConfig(**DIMS, attention_bias=True, mlp_bias=True, rope_scaling=_LLAMA3, tie_word_embeddings=True)
    ),
    "smollm3 biases": lambda: tf.SmolLM3ForCausalLM(
        tf.SmolLM3Config(
            **DIMS,
            pad_token_id=0,
            attention_bias=True,
            mlp_bias=True,
            no_rope_layers=[1, 0, 1, 1, 0],
            rope_scaling=_YARN,
            tie_word_embeddings=False,
        )
    ),
    "olmo2 biases": lambda: tf.Olmo2ForCausalLM(
        tf.Olmo2Config(
            **DIMS, attention_bias=True, rope_scaling={"type": "linear", "factor": 3.0}, tie_word_embeddings=True
        )
    ),
    "gpt2 scale by layer": _gpt2(scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False),
    "gpt2 no scale": _gpt2(scale_attn_weights=False, activation_function="relu"),
}


@pytest.mark.parametrize("spelled", [None, transformers5], ids=["transformers4", "transformers5"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_in_both_spellings(setting: str, spelled: Any, tmp_path: Path) -> None:
    model = random_values(SETTINGS[setting], seed=2)
    context = 64 if "longrope" in setting else None
    check_logits(model, write(tmp_path / "model", model, spelled), tmp_path / "graph", context)


_SCALINGS: Mapping[str, dict[str, Any]] = {
    "linear": _LINEAR,
    "dynamic": _DYNAMIC,
    "llama3": _LLAMA3,
    "yarn": _MSCALE,
    "longrope": {**_longrope(16), "rope_type": "longrope", "attention_factor": 1.3},
}


@pytest.mark.parametrize("kind", _SCALINGS)
@pytest.mark.parametrize("name", sorted(set(MODELS) - {"gpt2"}))
def test_every_rotary_scaling_of_every_architecture(name: str, kind: str, tmp_path: Path) -> None:
    config = MODELS[name]().config
    scaling = dict(_SCALINGS[kind])
    if kind == "longrope":
        rotated = (getattr(config, "head_dim", None) or 16) // 2
        scaling |= {key: np.resize(scaling[key], rotated).tolist() for key in ("short_factor", "long_factor")}
        scaling.pop("type")
        config.original_max_position_embeddings = 64
    config.rope_scaling = scaling  # not an argument: some classes refuse what their models know
    model = random_values(lambda: type(MODELS[name]())(config), seed=6)
    spelled = transformers5 if len(name + kind) % 2 else None
    check_logits(
        model, write(tmp_path / "model", model, spelled), tmp_path / "graph", 64 if kind == "longrope" else 256
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_folders_in_half_precision_are_their_values(name: str, dtype: str, tmp_path: Path) -> None:
    model = random_model(name)
    with torch.no_grad():
        for parameter in model.parameters():  # not the whole model: its rotary frequencies would be rounded as well
            parameter.copy_(parameter.to(getattr(torch, dtype)))
    spelled = transformers5 if dtype == "float16" else None
    half = write(tmp_path / "half", copy.deepcopy(model).to(getattr(torch, dtype)), spelled)
    assert dtype in (tmp_path / "half" / "config.json").read_text()
    whole = write(tmp_path / "whole", model)
    plan = parse_quant("int4")
    assert plan_grid(half, plan).fingerprint == plan_grid(whole, plan).fingerprint
    assert plan_grid(half, plan).base_fingerprint == plan_grid(whole, plan).base_fingerprint
    check_logits(model, half, tmp_path / "graph")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_batch_of_ragged_rows_answers_as_pytorch_does_each_row(name: str, tmp_path: Path) -> None:
    model = random_model(name)
    grid = plan_grid(write(tmp_path / "model", model), parse_quant("none"))
    export_artifact(Parts(grid), tmp_path / "artifact", Build(OnnxExporter(), ExportOptions(accuracy_level=0)))
    if name == "gemma2":
        model.set_attn_implementation("eager")
    rows = [IDS[:length].tolist() for length in (20, 3, 11, 1)]
    found = load(tmp_path / "artifact").generate_ids(rows, max_new_tokens=8)
    for row, answer in zip(rows, found, strict=True):
        assert len(answer) == 8 or answer[-1] == 2
        ids = torch.tensor([[*row, *answer]])
        with torch.inference_mode():
            logits = model(ids).logits[0, len(row) - 1 : -1]
        chosen = logits[torch.arange(len(answer)), torch.tensor(answer)]
        assert (logits.max(dim=1).values - chosen).max() < 1e-3


@pytest.mark.parametrize("name", sorted(MODELS))
def test_numbers_that_no_default_is(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    kinds = {"gpt2": "activation_function", "gemma2": "hidden_activation", "gemma3_text": "hidden_activation"}
    changes: dict[str, Any] = {"rms_norm_eps": 0.03, "num_key_value_heads": 1, "rope_theta": 3e4}
    if name == "gpt2":
        changes = {"layer_norm_epsilon": 0.03}
    for key, value in {**changes, kinds.get(name, "hidden_act"): "gelu"}.items():
        assert hasattr(model.config, key)
        setattr(model.config, key, value)
    model = random_values(lambda: type(model)(model.config), seed=4)
    check_logits(model, write(tmp_path / "model", model, transformers5), tmp_path / "graph")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("qwen2", {"attention_bias": True, "qkv_bias": False, "no_bias": True}),
        ("phi3", {"attention_bias": True, "output_attentions": True, "return_dict": False, "torchscript": True}),
        ("llama", {"use_qk_norm": True, "use_bias": True, "sliding_window": 8, "use_sliding_window": False}),
        ("llama", {"attention_multiplier": 0.25, "logits_scaling": 1.0, "layer_types": ["full_attention"] * 5}),
        ("mistral", {"layer_types": ["sliding_attention"] * 5, "attention_bias": True}),
        ("gpt2", {"head_dim": 32, "rope_theta": 5.0, "hidden_act": "relu"}),
        ("gemma2", {"hidden_act": "relu"}),
    ],
)
def test_what_transformers_does_not_read_changes_nothing(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    model = random_model(name)
    check_logits(model, write(tmp_path / "model", model, changed(**changes)), tmp_path / "graph")


def test_sizes_that_are_left_out_are_those_of_the_architecture(tmp_path: Path) -> None:
    model = random_values(_llama(num_key_value_heads=6), seed=1)

    def shortened(config: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in config.items() if key not in ("num_key_value_heads", "head_dim")}

    check_logits(model, write(tmp_path / "model", model, shortened), tmp_path / "graph")
    model.config.max_position_embeddings = 2048
    model.save_pretrained(tmp_path / "shorter")
    path = tmp_path / "shorter" / "config.json"
    config = json.loads(path.read_text())
    del config["max_position_embeddings"]
    path.write_text(json.dumps(config))
    assert open_checkpoint(str(tmp_path / "shorter")).config["max_position_embeddings"] == 2048


def test_a_left_over_quantization_config_is_noted(tmp_path: Path) -> None:
    model = random_model("llama")
    checkpoint = write(tmp_path / "model", model, changed(quantization_config={"quant_method": "bitsandbytes"}))
    assert any("has a quantization_config, but every tensor is float" in note for note in checkpoint.notes)
    check_logits(model, checkpoint, tmp_path / "graph")


def test_the_decoder_of_a_model_that_reads_images_is_taken_alone(tmp_path: Path) -> None:
    model = random_model("gemma3_text")
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({"model_type": "gemma3", "text_config": config, "vision_config": {"hidden_size": 8}})
    )
    for place in ("language_model.model.", "model.language_model.", "model.text_model."):
        tensors = {
            place + name.removeprefix("model."): tensor.contiguous()
            for name, tensor in model.state_dict().items()
            if not name.startswith("lm_head")
        }
        save_file({**tensors, "vision_tower.post_layernorm.weight": torch.ones(8)}, folder / "model.safetensors")
        checkpoint = open_checkpoint(str(folder))
        assert any("1 tensors are of the parts that read images" in note for note in checkpoint.notes)
        check_logits(model, checkpoint, tmp_path / place)
