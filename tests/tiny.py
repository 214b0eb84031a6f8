"""One tiny Llama with a byte-level tokenizer, and PEFT adapters for it, for tests that need a whole artifact.

Knows nothing about what is tested.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.merging.merge_all import merge_all
from edgelora_onnx import OnnxExporter
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.safetensors import write_safetensors

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, CONTEXT = 64, 96, 2, 4, 2, 512
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SHAPES = {  # kind of module -> (out_features, in_features)
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN * KV_HEADS // HEADS, HIDDEN),
    "self_attn.v_proj": (HIDDEN * KV_HEADS // HEADS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}


def write_checkpoint(folder: Path, seed: int = 0, spread: float = 0.2) -> Path:
    """A Hugging Face folder with random weights; ``spread`` 0.2 is wide enough that answers are not all alike."""
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    end = tokenizer.token_to_id("<|im_end|>")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=spread,
        bos_token_id=None,
        eos_token_id=end,
    )
    folder.mkdir(parents=True)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    return folder


def write_adapter(
    folder: Path,
    rank: int = 4,
    seed: int = 1,
    targets: Sequence[str] = TARGETS,
    size: float = 0.1,
    alpha: int = 8,
    invocation: Sequence[int] = (),
) -> Path:
    """A PEFT folder as peft writes it; ``size`` 0 leaves every B at zero, an ``invocation`` makes it activated."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for layer in range(LAYERS):
        for kind, (out_features, in_features) in _SHAPES.items():
            if kind.rsplit(".", 1)[1] in targets:
                name = f"base_model.model.model.layers.{layer}.{kind}"
                tensors[f"{name}.lora_A.weight"] = rng.standard_normal((rank, in_features)).astype(np.float32)
                b = rng.standard_normal((out_features, rank)) * size
                tensors[f"{name}.lora_B.weight"] = b.astype(np.float32)
    write_peft(folder, tensors, rank=rank, alpha=alpha, targets=targets)
    if invocation:
        path = folder / "adapter_config.json"
        changed = {"task_type": "CAUSAL_LM", "alora_invocation_tokens": list(invocation)}
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return folder


def write_peft(
    folder: Path, tensors: dict[str, np.ndarray], rank: int, alpha: int, targets: Sequence[str] = TARGETS
) -> None:
    """The two files of a PEFT folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": list(targets), "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def write_artifact(
    checkpoint: Path, out: Path, quant: str = "int4", level: int = 0, merge: Path | None = None, reference: bool = True
) -> Manifest:
    """The checkpoint as an artifact."""
    base, make_grid = open_checkpoint(str(checkpoint)), functools.partial(plan_grid, plan=parse_quant(quant))
    parts = Parts(make_grid(base)) if merge is None else merge_all(base, merge, make_grid, accept_lossy=False)
    build = Build(OnnxExporter(), ExportOptions(accuracy_level=level), has_reference=reference)
    return export_artifact(parts, out, build)
