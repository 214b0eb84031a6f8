"""Write tiny GGUF files the way llama.cpp's converter does: names, permutations, shifts and metadata.

Knows nothing of how EdgeLoRA reads them, so that a shared mistake cannot hide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rope_theta": 50000.0,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GPT2_SIZES = {"vocab_size": 96, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "n_inner": 96}
FAMILIES: Mapping[str, tuple[str, dict[str, Any]]] = {  # GGUF architecture -> model_type and what differs
    "llama": ("llama", {"head_dim": 16, "tie_word_embeddings": False}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 32, "tie_word_embeddings": False}),
    "gemma": ("gemma", {"head_dim": 32, "hidden_activation": "gelu_pytorch_tanh"}),
    "gemma2": ("gemma2", {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16}),
    "gemma3": ("gemma3_text", {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16}),
    "phi3": ("phi3", {"tie_word_embeddings": False, "original_max_position_embeddings": 128}),
    "granite": (
        "granite",
        {
            "attention_multiplier": 0.0625,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "logits_scaling": 8.0,
            "tie_word_embeddings": True,
        },
    ),
    "smollm3": ("smollm3", {"tie_word_embeddings": True}),
    "olmo2": ("olmo2", {"tie_word_embeddings": False}),
    "gpt2": ("gpt2", {"bos_token_id": 1, "eos_token_id": 2}),
}


def tiny_model(architecture: str, **changes: Any) -> torch.nn.Module:
    """A random model; norms and biases are moved off their constant start so that a lost shift shows."""
    model_type, special = FAMILIES[architecture]
    sizes = GPT2_SIZES if architecture == "gpt2" else SIZES
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **{**sizes, **special, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def tensors_of(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """The state dict as numpy, without a tied head."""
    state = {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    return state


def write_gguf(
    path: Path,
    architecture: str,
    model: torch.nn.Module,
    kind: Callable[[str], str] = lambda name: "F32",
    extra: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
) -> dict[str, np.ndarray]:
    """Write the model; gives back what was stored, quantized bytes by GGUF name."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    _write_metadata(writer, architecture, config)
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    name_map = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    stored: dict[str, np.ndarray] = {}
    for name, value in tensors_of(model).items():
        value = _convert(architecture, config, name, value)
        target = name_map.get_name(name, (".weight", ".bias"))
        assert target is not None, name
        wanted = gguf.GGMLQuantizationType[kind(name) if value.ndim == 2 else "F32"]
        stored[target] = gguf.quantize(value, wanted)
        writer.add_tensor(target, stored[target], raw_dtype=wanted)
    extra(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def _convert(architecture: str, config: Any, name: str, value: np.ndarray) -> np.ndarray:
    if architecture in ("llama", "granite", "smollm3"):
        if ".q_proj." in name:
            value = _permute(value, config.num_attention_heads)
        if ".k_proj." in name:
            value = _permute(value, config.num_key_value_heads)
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        value = value + np.float32(1)
    if architecture == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        value = value.T
    return np.ascontiguousarray(value, np.float32)


def _permute(value: np.ndarray, heads: int) -> np.ndarray:
    halves = value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
    return halves.swapaxes(1, 2).reshape(value.shape)


def _write_metadata(writer: gguf.GGUFWriter, architecture: str, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_tokenizer_model("none")
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if architecture == "gpt2":
        writer.add_feed_forward_length(config.n_inner)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_pad_token_id(0)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    if getattr(config, "head_dim", None) and architecture != "granite":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if architecture in ("llama", "smollm3", "granite", "phi3"):
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        writer.add_rope_dimension_count(int(width * getattr(config, "partial_rotary_factor", 1.0)))
    if architecture == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if architecture in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if architecture == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        writer.add_sliding_window(config.sliding_window or 0)
