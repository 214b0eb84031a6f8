"""The base models that are measured, as Hugging Face folders that every engine's own tools can read.

Knows nothing about engines. Two of the three have random weights in the shape of a known model: speed does not depend
on the values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora.values import Checkpoint, TokenizerFiles
from edgelora_runtime.safetensors import write_safetensors

Array = npt.NDArray[Any]

_STANDARD_DEVIATION = 0.02  # of random weights, as transformers initializes them
_CONTEXT = 4096  # tokens; more would only make rotary tables longer


@dataclass(frozen=True)
class Shape:
    """A decoder of transformers' ``llama`` or ``qwen2`` with tied embeddings."""

    name: str
    architecture: str  # transformers' model_type
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    vocab_size: int
    rope_theta: float
    norm_epsilon: float

    @property
    def head_dim(self) -> int:
        """Features of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def has_qkv_bias(self) -> bool:
        """Whether q, k and v have a bias."""
        return self.architecture == "qwen2"


RANDOM_SHAPES = {
    "qwen2.5-0.5b": Shape("qwen2.5-0.5b", "qwen2", 896, 4864, 24, 14, 2, 151_936, 1e6, 1e-6),
    "llama-3.2-1b": Shape("llama-3.2-1b", "llama", 2048, 8192, 16, 32, 8, 128_256, 5e5, 1e-5),
}


def config_of(shape: Shape) -> dict[str, Any]:
    """``config.json`` as transformers 4 writes it; transformers 5 reads it too."""
    return {
        "architectures": ["LlamaForCausalLM" if shape.architecture == "llama" else "Qwen2ForCausalLM"],
        "model_type": shape.architecture,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": _CONTEXT,
        "rope_theta": shape.rope_theta,
        "rms_norm_eps": shape.norm_epsilon,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        # Stored in half precision all the same: `export` refuses a configuration that says so
        # ("the frontend built 0 attention nodes").
        "torch_dtype": "float32",
    }


def tensor_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor by its Hugging Face name."""
    kv = shape.num_kv_heads * shape.head_dim
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocab_size, shape.hidden_size),
        "model.norm.weight": (shape.hidden_size,),
    }
    for layer in range(shape.num_layers):
        prefix = f"model.layers.{layer}"
        found[f"{prefix}.input_layernorm.weight"] = (shape.hidden_size,)
        found[f"{prefix}.post_attention_layernorm.weight"] = (shape.hidden_size,)
        for name, rows in (("q_proj", shape.hidden_size), ("k_proj", kv), ("v_proj", kv)):
            found[f"{prefix}.self_attn.{name}.weight"] = (rows, shape.hidden_size)
            if shape.has_qkv_bias:
                found[f"{prefix}.self_attn.{name}.bias"] = (rows,)
        found[f"{prefix}.self_attn.o_proj.weight"] = (shape.hidden_size, shape.hidden_size)
        for name in ("gate_proj", "up_proj"):
            found[f"{prefix}.mlp.{name}.weight"] = (shape.intermediate_size, shape.hidden_size)
        found[f"{prefix}.mlp.down_proj.weight"] = (shape.hidden_size, shape.intermediate_size)
    return found


def random_tensors(shape: Shape) -> Iterator[tuple[str, Array]]:
    """Names with float16 values: normal for matrices, one for norms, zero for biases."""
    rng = np.random.default_rng(0)
    for name, extents in tensor_shapes(shape).items():
        if name.endswith(".bias"):
            yield name, np.zeros(extents, np.float16)
        elif len(extents) == 1:
            yield name, np.ones(extents, np.float16)
        else:
            values = rng.standard_normal(extents, np.float32) * np.float32(_STANDARD_DEVIATION)
            yield name, values.astype(np.float16)


def write_random_model(shape: Shape, tokenizer: TokenizerFiles, folder: Path) -> None:
    """A Hugging Face folder in float16 with a tokenizer that builders ask for and nothing here uses."""
    write_model_folder(folder, config_of(shape), dict(random_tensors(shape)), tokenizer)


def write_checkpoint_folder(checkpoint: Checkpoint, folder: Path) -> None:
    """A checkpoint of any kind, such as a GGUF file, as a Hugging Face folder in float32."""
    assert checkpoint.tokenizer is not None
    tensors = {name: checkpoint.read(name) for name in checkpoint.names()}
    write_model_folder(folder, {**checkpoint.config, "torch_dtype": "float32"}, tensors, checkpoint.tokenizer)


def write_model_folder(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Array], tokenizer: TokenizerFiles
) -> None:
    """``config.json``, ``model.safetensors`` and the files of the tokenizer."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "tokenizer.json").write_text(tokenizer.tokenizer_json, encoding="utf-8")
    special = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": tokenizer.chat_template, **special}
    text = json.dumps({key: value for key, value in described.items() if value is not None}, indent=1)
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
