"""Tiny random checkpoints of every architecture, with the switches on that a small test would otherwise hide."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import transformers as tf

from edgelora.values import FloatArray, QuantizedMatrix, Task

# 96 is no perfect square (gemma scales by its root), 6 heads share 2 key/value heads, the fourth layer is the one that
# smollm3 leaves without rotary embeddings, and windows of 8 tokens are shorter than the prompts.
VOCAB_SIZE = 512
DIMS: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 160,
    "max_position_embeddings": 256,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_GEMMA3_LAYERS = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"]

MODELS: Mapping[str, Callable[[], Any]] = {
    "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**DIMS, tie_word_embeddings=True, rope_scaling=_LLAMA3_ROPE)),
    "mistral": lambda: tf.MistralForCausalLM(tf.MistralConfig(**DIMS, head_dim=16, sliding_window=8)),
    "qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**DIMS, tie_word_embeddings=True)),
    "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**DIMS, head_dim=32)),
    "gemma": lambda: tf.GemmaForCausalLM(tf.GemmaConfig(**DIMS, head_dim=32)),
    "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**DIMS, head_dim=16, sliding_window=8)),
    "gemma3_text": lambda: tf.Gemma3ForCausalLM(
        tf.Gemma3TextConfig(**DIMS, head_dim=16, sliding_window=8, layer_types=_GEMMA3_LAYERS)
    ),
    "phi3": lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**DIMS, pad_token_id=0, sliding_window=None)),
    "granite": lambda: tf.GraniteForCausalLM(
        tf.GraniteConfig(
            **DIMS, embedding_multiplier=3.0, logits_scaling=2.0, residual_multiplier=0.7, attention_multiplier=0.3
        )
    ),
    "smollm3": lambda: tf.SmolLM3ForCausalLM(tf.SmolLM3Config(**DIMS, pad_token_id=0)),
    "olmo2": lambda: tf.Olmo2ForCausalLM(tf.Olmo2Config(**DIMS)),
    "gpt2": lambda: tf.GPT2LMHeadModel(
        tf.GPT2Config(vocab_size=VOCAB_SIZE, n_embd=96, n_layer=3, n_head=6, n_positions=256)
    ),
}


@dataclass(frozen=True)
class TorchCheckpoint:
    """A transformers model in memory, read as ``edgelora.values.Checkpoint``."""

    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, FloatArray]
    eos_token_ids: tuple[int, ...] = (2,)
    tokenizer: None = None
    notes: tuple[str, ...] = ()
    task: Task = field(default_factory=Task)

    def head_names(self) -> tuple[str, ...]:
        return ()

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.tensors))

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def read(self, name: str) -> FloatArray:
        return self.tensors[name]

    def packed(self, name: str) -> QuantizedMatrix | None:
        return None


def random_model(name: str, seed: int = 0) -> Any:
    """A model whose norms, biases and weights are all random, so that none can be dropped unseen."""
    return random_values(MODELS[name], seed)


def random_values(make: Callable[[], Any], seed: int = 0) -> Any:
    """The model that ``make`` builds, with random values in it, in float32."""
    torch.manual_seed(seed)
    model = make().eval().float()
    for parameter in model.parameters():
        center = 0.5 if parameter.ndim == 1 and not model.config.model_type.startswith("gemma") else 0.0
        torch.nn.init.normal_(parameter, center, 0.2 if parameter.ndim == 1 else 0.08)
    return model


def checkpoint_of(model: Any, name: str) -> TorchCheckpoint:
    """The checkpoint that ``save_pretrained`` would write, tied tensors once."""
    tensors = {key: value.detach().numpy().copy() for key, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight")
    return TorchCheckpoint(name, json.loads(model.config.to_json_string(use_diff=False)), tensors)


def load_values(model: Any, values: Mapping[str, FloatArray]) -> None:
    """Put tensors back into a model."""
    model.load_state_dict(
        {key: torch.tensor(np.ascontiguousarray(value)) for key, value in values.items()}, strict=False
    )
    model.tie_weights()
