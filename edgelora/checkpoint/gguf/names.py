"""Where llama.cpp keeps what Hugging Face names, and in which order its rows are.

architecture, number of layers, heads -> names, order of rows
"""

from __future__ import annotations

import gguf
import numpy as np
import numpy.typing as npt

_PERMUTED = frozenset({"llama", "granite", "smollm3"})  # llama.cpp rotates neighbours there, Hugging Face halves

_ROOTS = ("model.embed_tokens", "model.norm", "lm_head")
_NORMS = tuple(f"{place}_layernorm" for place in ("input", "post_attention", "pre_feedforward", "post_feedforward"))
_BLOCK_MODULES = (
    *_NORMS,
    *(f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")),
    *(f"mlp.{part}" for part in ("gate_proj", "up_proj", "down_proj")),
)
_FUSED_MODULES = (*_NORMS, "self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
_GPT2_ROOTS = ("transformer.wte", "transformer.wpe", "transformer.ln_f", "lm_head")
_GPT2_MODULES = ("ln_1", "ln_2", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def modules_by_stem(architecture: str, blocks: int) -> dict[str, str]:
    """The module of Hugging Face for each stem, a tensor's name in GGUF without ``.weight`` or ``.bias``."""
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    name_map = gguf.get_tensor_name_map(arch, blocks)
    modules: list[str] = []
    if architecture == "gpt2":
        modules += _GPT2_ROOTS
        modules += [f"transformer.h.{block}.{part}" for block in range(blocks) for part in _GPT2_MODULES]
    else:
        parts = _FUSED_MODULES if architecture == "phi3" else _BLOCK_MODULES
        modules += _ROOTS
        modules += [f"model.layers.{block}.{part}" for block in range(blocks) for part in parts]
    return {stem: module for module in modules if (stem := name_map.get_name(module)) is not None}


def is_permuted(architecture: str, module: str) -> bool:
    """Whether the rows of a module lie in another order in GGUF than in a folder of Hugging Face."""
    return architecture in _PERMUTED and module.endswith((".self_attn.q_proj", ".self_attn.k_proj"))


def row_order(rows: int, heads: int) -> npt.NDArray[np.intp]:
    """For each row of Hugging Face where GGUF has it; ``rows`` is a multiple of twice the module's ``heads``."""
    return np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
