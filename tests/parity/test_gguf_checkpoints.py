"""GGUF files: the graph gives the logits of the model that was written, whatever architecture, type and setting.

The files are written as llama.cpp's converter writes them; PyTorch's side never reads one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import CheckpointError
from edgelora.torch_model.open_base import open_base
from tests.parity.folders import check_logits
from tests.unit.gguf_files import FAMILIES, tiny_model, write_gguf

Extra = Callable[[gguf.GGUFWriter], None]
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
_SHORT, _LONG = np.linspace(1, 2, 8, dtype=np.float32), np.linspace(1, 9, 8, dtype=np.float32)
_LONGROPE = {
    "type": "longrope",
    "short_factor": [float(str(value)) for value in _SHORT],
    "long_factor": [float(str(value)) for value in _LONG],
}


def _rope(architecture: str, **values: float | str) -> Extra:
    """Metadata below ``ARCHITECTURE.rope.``; two underscores stand for a point."""

    def write(writer: gguf.GGUFWriter) -> None:
        for name, value in values.items():
            key = f"{architecture}.rope.{name.replace('__', '.')}"
            if isinstance(value, str):
                writer.add_string(key, value)
            elif isinstance(value, int):
                writer.add_uint32(key, value)
            else:
                writer.add_float32(key, value)

    return write


def _llama3_factors(writer: gguf.GGUFWriter) -> None:
    wavelength = 2 * np.pi * 50000.0 ** (np.arange(0, 16, 2) / 16)
    smooth = np.clip((512 / wavelength - 1) / 3, 0, 1)
    writer.add_tensor("rope_freqs.weight", (1 / ((1 - smooth) / 8 + smooth)).astype(np.float32))


def _longrope_factors(writer: gguf.GGUFWriter) -> None:
    writer.add_tensor("rope_factors_long.weight", _LONG)
    writer.add_tensor("rope_factors_short.weight", _SHORT)
    writer.add_float32("phi3.rope.scaling.attn_factor", float(np.sqrt(1 + np.log(4) / np.log(32))))


def _nothing(writer: gguf.GGUFWriter) -> None:
    pass


_BIASES: dict[str, Any] = {"attention_bias": True, "mlp_bias": True}
_LINEAR: dict[str, Any] = {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}
SETTINGS: Mapping[str, tuple[str, dict[str, Any], Extra]] = {
    **{f"{architecture} as it is": (architecture, {}, _nothing) for architecture in FAMILIES},
    "llama biases, tied": ("llama", {**_BIASES, "tie_word_embeddings": True}, _nothing),
    "granite biases, untied": ("granite", {**_BIASES, "tie_word_embeddings": False}, _nothing),
    "smollm3 biases": ("smollm3", _BIASES, _nothing),
    "qwen3 biases": ("qwen3", {"attention_bias": True}, _nothing),
    "olmo2 biases": ("olmo2", {"attention_bias": True}, _nothing),
    "qwen2 untied": ("qwen2", {"tie_word_embeddings": False}, _nothing),
    "gpt2 untied": ("gpt2", {"tie_word_embeddings": False}, _nothing),
    "llama linear": ("llama", _LINEAR, _rope("llama", scaling__type="linear", scaling__factor=4.0)),
    "llama a factor without a type": ("llama", _LINEAR, _rope("llama", scaling__factor=4.0)),
    "llama the old key of a factor": ("llama", _LINEAR, _rope("llama", scale_linear=4.0)),
    "llama a factor that is switched off": ("llama", {}, _rope("llama", scaling__type="none", scaling__factor=4.0)),
    "llama llama3": ("llama", {"rope_scaling": _LLAMA3}, _llama3_factors),
    "qwen2 yarn": (
        "qwen2",
        {"rope_scaling": _YARN},
        _rope("qwen2", scaling__type="yarn", scaling__factor=4.0, scaling__original_context_length=32),
    ),
    "qwen3 yarn with its own betas": (
        "qwen3",
        {"rope_scaling": {**_YARN, "beta_fast": 16.0, "beta_slow": 2.0}},
        _rope(
            "qwen3",
            scaling__type="yarn",
            scaling__factor=4.0,
            scaling__original_context_length=32,
            scaling__yarn_beta_fast=16.0,
            scaling__yarn_beta_slow=2.0,
        ),
    ),
    "llama yarn with a factor for attention": (
        "llama",
        {"rope_scaling": {**_YARN, "attention_factor": 0.5 * (0.1 * float(np.log(4)) + 1)}},
        _rope(
            "llama",
            scaling__type="yarn",
            scaling__factor=4.0,
            scaling__original_context_length=32,
            scaling__attn_factor=0.5,
        ),
    ),
    "gemma3 linear and its own base for windows": (
        "gemma3",
        {"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_local_base_freq": 5000.0},
        _rope("gemma3", scaling__factor=8.0, freq_base_swa=5000.0),
    ),
    "phi3 partly rotated": (
        "phi3",
        {"num_attention_heads": 2, "num_key_value_heads": 1, "partial_rotary_factor": 0.5},
        _nothing,
    ),
    "phi3 longrope": ("phi3", {"rope_scaling": _LONGROPE, "original_max_position_embeddings": 32}, _longrope_factors),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_graph_answers_as_what_was_written(setting: str, tmp_path: Path) -> None:
    architecture, changes, extra = SETTINGS[setting]
    model = tiny_model(architecture, **changes)
    write_gguf(tmp_path / "tiny.gguf", architecture, model, extra=extra)
    checkpoint = open_base(str(tmp_path / "tiny.gguf"))
    check_logits(model, checkpoint, tmp_path / "graph")


@pytest.mark.parametrize("kind", ["F16", "BF16"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "phi3", "gpt2"])
def test_half_precision_is_its_values(architecture: str, kind: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    narrow = {"F16": torch.float16, "BF16": torch.bfloat16}[kind]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(parameter.to(narrow))
    write_gguf(tmp_path / "tiny.gguf", architecture, model, kind=lambda name: kind)
    check_logits(model, open_checkpoint(str(tmp_path / "tiny.gguf")), tmp_path / "graph")


@pytest.mark.parametrize(
    ("architecture", "extra", "reason"),
    [
        ("llama", _rope("llama", scaling__yarn_ext_factor=1.0), "llama.rope.scaling.yarn_ext_factor is 1.0, which"),
        ("llama", _rope("llama", dimension_sections=3), "llama.rope.dimension_sections is 3"),
        ("llama", _rope("llama", freq_base_swa=77.0), "llama.rope.freq_base_swa is 77.0"),
        ("llama", _rope("llama", scaling__type="magic", scaling__factor=2.0), "scales rotary positions by 'magic'"),
        (
            "llama",
            _rope("llama", scaling__factor=2.0, scaling__attn_factor=1.5),
            "attn_factor, which linear does not have",
        ),
        (
            "phi3",
            lambda writer: writer.add_tensor("rope_factors_long.weight", _LONG),
            "lacks rope_factors_short.weight",
        ),
        ("llama", lambda writer: writer.add_logit_scale(3.0), "llama.logit_scale is 3.0, which llama does not have"),
        ("qwen2", lambda writer: writer.add_final_logit_softcapping(5.0), "qwen2.final_logit_softcapping is 5"),
        ("llama", lambda writer: writer.add_sliding_window(16), "llama.attention.sliding_window is 16"),
        ("qwen3", lambda writer: writer.add_clamp_kqv(3.0), "qwen3.attention.clamp_kqv is 3"),
        ("gemma", lambda writer: writer.add_causal_attention(False), "gemma.attention.causal is False"),
    ],
)
def test_metadata_that_would_change_the_answers_is_refused(
    architecture: str, extra: Extra, reason: str, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "tiny.gguf", architecture, tiny_model(architecture), extra=extra)
    with pytest.raises(CheckpointError, match=reason) as caught:
        open_checkpoint(str(tmp_path / "tiny.gguf"))
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
