"""Writes GGUF files for llama.cpp: a base in Q4_0, and LoRA adapters.

Knows nothing about llama.cpp itself. Values of the random bases are as good in any order, so rows of q and k are not
permuted as a real conversion would.
"""

from __future__ import annotations

import re
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as GgmlType
from gguf import quants

from benchmarks.peers.models import Shape, random_tensors
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.safetensors import read_safetensors

_ENDINGS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OUTSIDE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
_EMBEDDING = "token_embd.weight"


def gguf_name(name: str) -> str:
    """The name that llama.cpp knows a tensor of the state dict by; KeyError for others."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if match is None:
        raise KeyError(name)
    return f"blk.{match[1]}.{_ENDINGS[match[2]]}.{match[3]}"


def write_q4_0_copy(source: Path, out: Path) -> None:
    """The same model with its Q4_1 matrices as Q4_0; all else, the Q8_0 embedding too, as it is."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q4_0))
    for tensor in reader.tensors:
        if tensor.tensor_type == GgmlType.Q4_1:
            values = quants.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, quants.quantize(values, GgmlType.Q4_0), raw_dtype=GgmlType.Q4_0)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    _finish(writer)


def write_random_base(shape: Shape, out: Path) -> None:
    """Q4_0 matrices and a Q8_0 embedding, which is the head as well; no vocabulary."""
    writer = gguf.GGUFWriter(out, shape.architecture)
    writer.add_context_length(4096)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.num_layers)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_heads)
    writer.add_head_count_kv(shape.num_kv_heads)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q4_0))
    for name, values in random_tensors(shape):
        target = gguf_name(name)
        if values.ndim == 1:
            writer.add_tensor(target, values.astype(np.float32))
            continue
        kind = GgmlType.Q8_0 if target == _EMBEDDING else GgmlType.Q4_0
        writer.add_tensor(target, quants.quantize(values.astype(np.float32), kind), raw_dtype=kind)
    _finish(writer)


def write_lora(folder: Path, manifest: Manifest, rank: int, out: Path) -> None:
    """A PEFT folder whose alpha is its rank, as a float32 GGUF adapter."""
    writer = gguf.GGUFWriter(out, manifest.model.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    for key, values in read_safetensors(folder / "adapter_model.safetensors").items():
        module, side = key.removeprefix("base_model.model.").removesuffix(".weight").rsplit(".lora_", 1)
        writer.add_tensor(f"{gguf_name(module + '.weight')}.lora_{side.lower()}", values.astype(np.float32))
    _finish(writer)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
