"""Turns the metadata of a GGUF file into the ``config.json`` of transformers.

Metadata, shapes, rotary factors -> config
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelora.errors import CheckpointError
from edgelora.values import FloatArray
from edgelora_runtime.parse_json import show

# GGUF architecture -> (model_type, class) of transformers
MODEL_TYPES: Mapping[str, tuple[str, str]] = {
    "llama": ("llama", "LlamaForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "gemma": ("gemma", "GemmaForCausalLM"),
    "gemma2": ("gemma2", "Gemma2ForCausalLM"),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM"),
    "phi3": ("phi3", "Phi3ForCausalLM"),
    "granite": ("granite", "GraniteForCausalLM"),
    "smollm3": ("smollm3", "SmolLM3ForCausalLM"),
    "olmo2": ("olmo2", "Olmo2ForCausalLM"),
    "gpt2": ("gpt2", "GPT2LMHeadModel"),
}
_YARN = {"beta_fast": "yarn_beta_fast", "beta_slow": "yarn_beta_slow"}  # transformers -> GGUF
_SCALES = ("attention.scale", "embedding_scale", "residual_scale", "logit_scale")
_CAPS = ("attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping")
_READ_BY = {
    "granite": _SCALES,
    "gemma2": _CAPS,
    "gemma3": (*_CAPS, "rope.freq_base_swa"),
    "phi3": ("attention.sliding_window",),
    "olmo2": ("attention.sliding_window",),
}
_GEMMA2_27B_BLOCKS, _GEMMA3_27B_BLOCKS = 46, 62  # these two scale queries by hidden_size / heads; GGUF does not say so


@dataclass(frozen=True)
class Metadata:
    """Key-value pairs of a GGUF file, read with the type that is expected."""

    values: Mapping[str, Any]
    file: str

    def get(self, key: str) -> Any:
        """The raw value, or None."""
        return self.values.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """A string; without a default the key is required."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string", value)
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """An integer; without a default the key is required."""
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, "an integer", value)
        return int(value)

    def count(self, key: str, default: int | None = None) -> int:
        """An integer above zero; without a default the key is required."""
        value = self.integer(key, default)
        if value < 1:
            raise self._wrong(key, "an integer above zero", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number, float32 in the file, as the shortest decimal that means the same float32."""
        value = self.values.get(key, default)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise self._wrong(key, "a finite number", value)
        return float(str(np.float32(value)))

    def items(self, key: str) -> list[Any]:
        """A list; empty when the key is absent."""
        value = self.values.get(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "a list", value)
        return value

    def _wrong(self, key: str, expected: str, value: object) -> CheckpointError:
        found = "is missing" if value is None else f"is {str(value)[:40]!r}"
        return CheckpointError(f"{self.file}: metadata key {key} {found}; expected {expected}")


def build_config(
    metadata: Metadata,
    shapes: Mapping[str, tuple[int, ...]],
    rope: Mapping[str, FloatArray],
    eos_token_ids: Sequence[int],
) -> dict[str, Any]:
    """The ``config.json`` for a GGUF file.

    ``shapes`` are those of the file (out, in) by Hugging Face name, ``rope`` the rotary factor tensors by GGUF name.
    """
    architecture = metadata.text("general.architecture")
    model_type, model_class = MODEL_TYPES[architecture]
    embedding = "transformer.wte.weight" if architecture == "gpt2" else "model.embed_tokens.weight"
    if embedding not in shapes:
        raise CheckpointError(f"{metadata.file} has no token_embd.weight; download it again")
    config: dict[str, Any] = {
        "architectures": [model_class],
        "model_type": model_type,
        "vocab_size": shapes[embedding][0],
        "tie_word_embeddings": "lm_head.weight" not in shapes,
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": eos_token_ids[0] if len(eos_token_ids) == 1 else list(eos_token_ids) or None,
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"),
    }
    if metadata.get(f"{architecture}.expert_count"):
        raise CheckpointError(f"{metadata.file} is a mixture of experts; EdgeLoRA reads dense models")
    if architecture == "gpt2":
        return config | _gpt2(metadata)
    return config | _decoder(metadata, architecture, shapes, rope)


def _gpt2(metadata: Metadata) -> dict[str, Any]:
    length = metadata.count("gpt2.context_length")
    return {
        "n_embd": metadata.count("gpt2.embedding_length"),
        "n_layer": metadata.count("gpt2.block_count"),
        "n_head": metadata.count("gpt2.attention.head_count"),
        "n_inner": metadata.count("gpt2.feed_forward_length"),
        "n_positions": length,
        "n_ctx": length,
        "layer_norm_epsilon": metadata.number("gpt2.attention.layer_norm_epsilon"),
        "activation_function": "gelu_new",
    }


def _decoder(
    metadata: Metadata, architecture: str, shapes: Mapping[str, tuple[int, ...]], rope: Mapping[str, FloatArray]
) -> dict[str, Any]:
    def key(name: str) -> str:
        return f"{architecture}.{name}"

    heads = metadata.count(key("attention.head_count"))
    kv_heads = metadata.integer(key("attention.head_count_kv"), heads)
    config: dict[str, Any] = {
        "hidden_size": metadata.count(key("embedding_length")),
        "intermediate_size": metadata.count(key("feed_forward_length")),
        "num_hidden_layers": metadata.count(key("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": metadata.count(key("context_length")),
        "rms_norm_eps": metadata.number(key("attention.layer_norm_rms_epsilon")),
        "rope_theta": metadata.number(key("rope.freq_base"), 10000.0),
        "hidden_act": "gelu_pytorch_tanh" if architecture.startswith("gemma") else "silu",
    }
    head_dim = _head_dim(metadata, shapes, heads, kv_heads)
    _check_strangers(metadata, architecture, head_dim)
    rotary = metadata.integer(key("rope.dimension_count"), head_dim)
    if architecture == "phi3":
        config["partial_rotary_factor"] = rotary / head_dim
    else:
        config["head_dim"] = head_dim
        if rotary != head_dim:
            raise CheckpointError(f"{metadata.file} rotates {rotary} of {head_dim} values per head; expected all")
    config["rope_scaling"] = _rope_scaling(metadata, architecture, rope, config["rope_theta"], head_dim)
    if architecture in ("llama", "granite", "smollm3", "qwen3", "olmo2"):
        config["attention_bias"] = "model.layers.0.self_attn.o_proj.bias" in shapes
    if architecture in ("llama", "granite", "smollm3"):
        config["mlp_bias"] = "model.layers.0.mlp.down_proj.bias" in shapes
    return config | _family(metadata, architecture, config, head_dim)


def _head_dim(metadata: Metadata, shapes: Mapping[str, tuple[int, ...]], heads: int, kv_heads: int) -> int:
    attention = "model.layers.0.self_attn"
    fused = shapes.get(f"{attention}.qkv_proj.weight")
    query, key = (fused, None) if fused else (shapes.get(f"{attention}.{part}.weight") for part in ("q_proj", "k_proj"))
    if query is None:
        raise CheckpointError(f"{metadata.file} has no blk.0.attn_q.weight; download it again")
    query_heads = heads + 2 * kv_heads if fused else heads
    head_dim = query[0] // query_heads
    if head_dim * query_heads != query[0] or (key is not None and head_dim * kv_heads != key[0]):
        raise CheckpointError(
            f"{metadata.file}: {heads} heads and {kv_heads} key heads do not fit its attention tensors"
        )
    return head_dim


def _family(metadata: Metadata, architecture: str, config: Mapping[str, Any], head_dim: int) -> dict[str, Any]:
    def key(name: str) -> str:
        return f"{architecture}.{name}"

    blocks = config["num_hidden_layers"]
    if architecture == "granite":
        return {
            "attention_multiplier": metadata.number(key("attention.scale"), 1.0),
            "embedding_multiplier": metadata.number(key("embedding_scale"), 1.0),
            "residual_multiplier": metadata.number(key("residual_scale"), 1.0),
            "logits_scaling": metadata.number(key("logit_scale"), 1.0),
        }
    if architecture == "phi3":
        return {
            "sliding_window": metadata.get(key("attention.sliding_window")) or None,
        }
    if architecture == "olmo2" and metadata.get(key("attention.sliding_window")):
        raise CheckpointError(f"{metadata.file} is OLMo 3 (sliding windows); EdgeLoRA reads OLMo 2 from GGUF")
    if architecture == "gemma":
        return {"hidden_activation": config["hidden_act"]}
    if architecture not in ("gemma2", "gemma3"):
        return {}
    large = blocks == (_GEMMA2_27B_BLOCKS if architecture == "gemma2" else _GEMMA3_27B_BLOCKS)
    gemma: dict[str, Any] = {
        "hidden_activation": config["hidden_act"],
        "query_pre_attn_scalar": config["hidden_size"] // config["num_attention_heads"] if large else head_dim,
        "sliding_window": metadata.integer(key("attention.sliding_window"), 4096),
        "attn_logit_softcapping": _optional_number(metadata, key("attn_logit_softcapping")),
        "final_logit_softcapping": _optional_number(metadata, key("final_logit_softcapping")),
        "layer_types": _layer_types(metadata, architecture, blocks),
    }
    if architecture == "gemma3":
        gemma["rope_local_base_freq"] = metadata.number(key("rope.freq_base_swa"), 10000.0)
    return gemma


def _optional_number(metadata: Metadata, key: str) -> float | None:
    return None if metadata.get(key) is None else metadata.number(key)


def _layer_types(metadata: Metadata, architecture: str, blocks: int) -> list[str]:
    pattern = metadata.get(f"{architecture}.attention.sliding_window_pattern")
    if isinstance(pattern, list):
        sliding = [bool(flag) for flag in pattern]
        if len(sliding) != blocks:
            raise CheckpointError(f"{metadata.file}: sliding_window_pattern has {len(sliding)} of {blocks} entries")
    else:
        period = int(pattern) if isinstance(pattern, int) and pattern > 0 else 2 if architecture == "gemma2" else 6
        sliding = [(block + 1) % period != 0 for block in range(blocks)]
    return ["sliding_attention" if flag else "full_attention" for flag in sliding]


def _rope_scaling(
    metadata: Metadata, architecture: str, rope: Mapping[str, FloatArray], theta: float, head_dim: int
) -> dict[str, Any] | None:
    def key(name: str) -> str:
        return f"{architecture}.rope.scaling.{name}"

    long, short = rope.get("rope_factors_long.weight"), rope.get("rope_factors_short.weight")
    if (long is None) != (short is None):
        missing = "rope_factors_long.weight" if long is None else "rope_factors_short.weight"
        raise CheckpointError(f"{metadata.file} lacks {missing}, while it has the other one; download it again")
    if long is not None and short is not None:
        length = metadata.count(f"{architecture}.context_length")
        scaling: dict[str, Any] = {
            "rope_type": "longrope",
            "original_max_position_embeddings": metadata.count(key("original_context_length"), length),
            "long_factor": _decimals(long),
            "short_factor": _decimals(short),
        }
        if metadata.get(key("attn_factor")) is not None:
            scaling["attention_factor"] = metadata.number(key("attn_factor"))
        return scaling
    # As llama.cpp reads it: a factor without a type is linear, and without a factor nothing is scaled.
    kind = metadata.text(key("type"), "linear")
    factor = metadata.number(key("factor"), metadata.number(f"{architecture}.rope.scale_linear", 1.0)) or 1.0
    if kind != "yarn" and metadata.number(key("attn_factor"), 1.0) != 1:
        raise CheckpointError(f"{metadata.file} has {key('attn_factor')}, which {kind} does not have")
    if "rope_freqs.weight" in rope:
        if kind != "none" and factor != 1:
            raise CheckpointError(f"{metadata.file} has rope_freqs.weight beside a factor of {factor:g}; expected one")
        return _llama3_scaling(metadata, rope["rope_freqs.weight"], theta, head_dim)
    if kind == "none" or (kind == "linear" and factor == 1):
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        return _yarn_scaling(metadata, architecture, factor)
    raise CheckpointError(f"{metadata.file} scales rotary positions by {kind!r}; EdgeLoRA reads linear, yarn, longrope")


def _check_strangers(metadata: Metadata, architecture: str, head_dim: int) -> None:
    """Raise for keys that change the answers and that nothing here reads, unless they say what is done anyway."""
    read = {
        *(f"rope.{name}" for name in ("dimension_count", "freq_base", "scale_linear")),
        *(f"rope.scaling.{name}" for name in ("type", "factor", "original_context_length", "finetuned", "attn_factor")),
        *(f"rope.scaling.{name}" for name in _YARN.values()),
        *_READ_BY.get(architecture, ()),
    }
    harmless = {
        "attention.scale": head_dim**-0.5,
        **dict.fromkeys(("embedding_scale", "residual_scale", "logit_scale", "attention.causal"), 1),
        **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping"), 0),
        **dict.fromkeys(("attention.clamp_kqv", "attention.max_alibi_bias", "use_parallel_residual"), 0),
        "attention.sliding_window": 0,
        "rope.freq_base_swa": metadata.number(f"{architecture}.rope.freq_base", 10000.0),
    }
    length = metadata.count(f"{architecture}.context_length")
    for name, value in sorted(metadata.values.items()):
        part = name.removeprefix(f"{architecture}.")
        if part == name or part in read or (part not in harmless and not part.startswith("rope.")):
            continue
        if isinstance(value, int | float) and math.isclose(value, harmless.get(part, math.nan), rel_tol=1e-6):
            continue
        if not (part == "attention.sliding_window" and isinstance(value, int) and value >= length):
            raise CheckpointError(
                f"{metadata.file}: {name} is {show(value)}, which {architecture} does not have; the answers of such a "
                "model would be others here"
            )


def _yarn_scaling(metadata: Metadata, architecture: str, factor: float) -> dict[str, Any]:
    """llama.cpp strengthens attention by 0.1 ln(factor) + 1, as transformers does, times a factor of the file's own."""

    def key(name: str) -> str:
        return f"{architecture}.rope.scaling.{name}"

    length = metadata.count(f"{architecture}.context_length")
    scaling: dict[str, Any] = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": metadata.count(key("original_context_length"), length),
    }
    for name, stored in _YARN.items():
        if metadata.get(key(stored)) is not None:
            scaling[name] = metadata.number(key(stored))
    strength = metadata.number(key("attn_factor"), 1.0)
    if strength != 1:
        scaling["attention_factor"] = strength * (0.1 * math.log(factor) + 1)
    return scaling


def _llama3_scaling(metadata: Metadata, factors: FloatArray, theta: float, head_dim: int) -> dict[str, Any] | None:
    """GGUF keeps the factors of Llama 3's rotary scaling, not its parameters; find those that give the same factors."""
    factor = float(factors.max())
    if factor == 1.0:
        return None
    wavelength = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)  # (head_dim / 2,)
    for original in (8192, *(1 << power for power in range(9, 18))):
        for low, high in ((1.0, 4.0), (1.0, 2.0), (1.0, 8.0)):
            smooth = np.clip((original / wavelength - low) / (high - low), 0, 1)
            if np.allclose(1 / ((1 - smooth) / factor + smooth), factors, rtol=1e-4):
                return {
                    "rope_type": "llama3",
                    "factor": factor,
                    "low_freq_factor": low,
                    "high_freq_factor": high,
                    "original_max_position_embeddings": original,
                }
    raise CheckpointError(
        f"{metadata.file}: rope_freqs.weight follows no llama3 rotary scaling; use the original model"
    )


def _decimals(values: FloatArray) -> list[float]:
    return [float(str(value)) for value in values.astype(np.float32)]
