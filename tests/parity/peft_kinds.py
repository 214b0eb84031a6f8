"""Every kind of adapter that PEFT saves, made on tiny random models, with PEFT's own logits for each.

kind, folder -> PEFT folder, logits

Knows nothing about who reads the folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers as tf
from peft.tuners.lora.config import CordaConfig, KasaConfig, MontecloraConfig, VeloraConfig

from edgelora.values import FloatArray

VOCABULARY, LAYERS = 96, 2
IDS = np.random.default_rng(5).integers(3, VOCABULARY, 20).tolist()
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _llama() -> Any:
    return tf.LlamaForCausalLM(tf.LlamaConfig(**_SIZES, tie_word_embeddings=False))


def _tied() -> Any:
    return tf.LlamaForCausalLM(tf.LlamaConfig(**_SIZES, tie_word_embeddings=True))


def _qwen2() -> Any:
    return tf.Qwen2ForCausalLM(tf.Qwen2Config(**_SIZES, tie_word_embeddings=False))


def _phi3() -> Any:
    return tf.Phi3ForCausalLM(tf.Phi3Config(**_SIZES, tie_word_embeddings=False, sliding_window=None))


def _gpt2() -> Any:
    sizes = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": LAYERS, "n_head": 4, "n_positions": 64}
    return tf.GPT2LMHeadModel(tf.GPT2Config(**sizes, bos_token_id=1, eos_token_id=2, pad_token_id=0))


BASES: Mapping[str, Callable[[], Any]] = {
    "llama": _llama,
    "tied": _tied,
    "qwen2": _qwen2,
    "phi3": _phi3,
    "gpt2": _gpt2,
}


@dataclass(frozen=True)
class Kind:
    """One line of the matrix: how it is made, and what becomes of it."""

    name: str
    config: Callable[[], Any]
    base: str = "llama"
    prepare: Callable[[Any, Any], None] | None = None  # (model, config), before there is an adapter
    needs: str | None = None  # what a conversion asks for: "base" or "initial"
    refused: str | None = None  # in the one line that says why it is not taken


def base_model(name: str) -> Any:
    """Random float32 weights, biases and norms among them, the same each time."""
    torch.manual_seed(7)
    model = BASES[name]().eval().float()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.7 if parameter.ndim == 1 else 0.0, 0.2 if parameter.ndim == 1 else 0.1)
    model.tie_weights()
    return model


def lora(**options: Any) -> Callable[[], Any]:
    """A LoraConfig over every linear of a Llama, but for ``options``."""
    return lambda: peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": list(_LINEARS), **options})


def make_adapter(kind: Kind, folder: Path) -> FloatArray:
    """Save the kind's adapter in ``folder``, as it began in ``folder/start``; PEFT's logits (len(IDS), vocab_size)."""
    torch.manual_seed(11)
    model, config = base_model(kind.base), kind.config()
    if kind.prepare is not None:
        kind.prepare(model, config)
    adapted = peft.get_peft_model(model, config).eval()
    if getattr(config, "init_lora_weights", None) == "eva":
        peft.initialize_lora_eva_weights(adapted, _batches(), show_progress_bar=False)
    if kind.needs == "initial":
        adapted.save_pretrained(folder / "start")
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    adapted.save_pretrained(folder)
    return torch_logits(adapted)


def torch_logits(model: Any) -> FloatArray:
    with torch.inference_mode():
        found: FloatArray = model(torch.tensor([IDS])).logits[0].float().numpy()
    return found


def _batches() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, VOCABULARY, (8, 1, 24), generator=generator)
    return [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in ids]


def _corda(model: Any, config: Any) -> None:
    from peft.tuners.lora.corda import preprocess_corda

    def run() -> None:
        for batch in _batches():
            model(**batch)

    preprocess_corda(model, config, run_model=run)


def other(name: str, **options: Any) -> Callable[[], Any]:
    """The configuration of a neighbour of LoRA."""
    return lambda: getattr(peft, name)(**{"target_modules": list(_LINEARS), **options})


PLAIN: tuple[Kind, ...] = (
    Kind("plain", lora()),
    Kind("rank 1", lora(r=1)),
    Kind("use_rslora", lora(use_rslora=True)),
    Kind("rank_pattern", lora(rank_pattern={"q_proj": 2, "layers.1.mlp.up_proj": 3, r".*\.0\..*down_proj": 5})),
    Kind("alpha_pattern", lora(alpha_pattern={"v_proj": 3, r"^model\.layers\.1\.mlp\.gate_proj": 9})),
    Kind("patterns that overlap", lora(rank_pattern={r".*layers\.1.*": 3, "q_proj": 2})),
    Kind("layers_to_transform", lora(layers_to_transform=[1])),
    Kind("layers_pattern", lora(layers_to_transform=0, layers_pattern="layers")),
    Kind("exclude_modules", lora(exclude_modules=["k_proj"])),
    Kind("exclude_modules, a pattern", lora(exclude_modules=r".*layers\.0\.self_attn.*")),
    Kind("target_modules, a pattern", lora(target_modules=r".*\.layers\.\d+\.(self_attn|mlp)\.(q|v|up)_proj")),
    Kind("target_modules, a lookahead", lora(target_modules=r"^(?!.*layers\.0).*\.(?:q_proj|down_proj)$")),
    Kind("target_modules all-linear", lora(target_modules="all-linear")),
    Kind("init_lora_weights gaussian", lora(init_lora_weights="gaussian")),
    Kind("init_lora_weights orthogonal", lora(init_lora_weights="orthogonal")),
    Kind("init_lora_weights mica", lora(init_lora_weights="mica")),
    Kind(
        "init_lora_weights eva",
        lora(init_lora_weights="eva", eva_config=peft.EvaConfig(rho=1.5, adjust_scaling_factors=True)),
    ),
    Kind("Conv1D, fan_in_fan_out", lora(target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True), "gpt2"),
    Kind("Conv1D, c_proj of both", lora(target_modules=["c_proj"]), "gpt2"),
    Kind("Conv1D, c_proj of one", lora(target_modules=["attn.c_proj"]), "gpt2"),
    Kind("fused projections", lora(target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]), "phi3"),
)
CONVERTED: tuple[Kind, ...] = (
    Kind("init_lora_weights pissa", lora(init_lora_weights="pissa"), needs="initial"),
    Kind("pissa, from the base", lora(init_lora_weights="pissa"), needs="base"),
    Kind("pissa_niter_4", lora(init_lora_weights="pissa_niter_4"), needs="initial"),
    Kind("pissa, use_rslora", lora(init_lora_weights="pissa", use_rslora=True), needs="base"),
    Kind(
        "pissa, patterns",
        lora(init_lora_weights="pissa", rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}),
        needs="base",
    ),
    Kind("init_lora_weights olora", lora(init_lora_weights="olora"), needs="initial"),
    Kind("olora, from the base", lora(init_lora_weights="olora"), needs="base"),
    Kind(
        "init_lora_weights corda",
        lora(init_lora_weights="corda", corda_config=CordaConfig()),
        prepare=_corda,
        needs="initial",
    ),
    Kind(  # PEFT looks for the invocation where it knows that the model generates
        "alora_invocation_tokens",
        lora(alora_invocation_tokens=IDS[8:10], target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    ),
    Kind("use_qalora, a layer that pools nothing", lora(use_qalora=True, qalora_group_size=16)),
    Kind("VeRA", other("VeraConfig", r=8)),
    Kind("LoHa", other("LoHaConfig", r=2, alpha=3)),
    Kind("LoKr", other("LoKrConfig", r=3, alpha=4)),
    Kind("LoKr, both decomposed", other("LoKrConfig", r=2, alpha=4, decompose_both=True, decompose_factor=8)),
    Kind("AdaLoRA", other("AdaLoraConfig", init_r=6, target_r=4, total_step=10)),
)
MERGED: tuple[Kind, ...] = (
    Kind("use_dora", lora(use_dora=True), refused="DoRA"),
    Kind("use_dora, use_rslora", lora(use_dora=True, use_rslora=True), refused="DoRA"),
    Kind("use_dora, Conv1D", lora(use_dora=True, target_modules=["c_attn", "c_proj"]), "gpt2", refused="DoRA"),
    Kind("lora_bias", lora(lora_bias=True, target_modules=["q_proj", "v_proj"]), "qwen2", refused="LoRA biases"),
    Kind("bias all", lora(bias="all"), "qwen2", refused="bias is 'all'"),
    Kind("bias lora_only", lora(bias="lora_only"), "qwen2", refused="bias is 'lora_only'"),
    Kind("modules_to_save, the head", lora(modules_to_save=["lm_head"]), refused="modules_to_save"),
    Kind("modules_to_save, the embedding", lora(modules_to_save=["embed_tokens"]), refused="modules_to_save"),
    Kind("modules_to_save, norms", lora(modules_to_save=["input_layernorm"]), refused="modules_to_save"),
    Kind("trainable_token_indices", lora(trainable_token_indices=[5, IDS[0]]), refused="trainable_token_indices"),
    Kind(
        "trainable_token_indices, tied",
        lora(trainable_token_indices={"embed_tokens": [5, IDS[0]]}),
        "tied",
        refused="trainable_token_indices",
    ),
    Kind("target_modules, the embedding", lora(target_modules=["q_proj", "embed_tokens"]), refused="embed_tokens"),
    Kind("target_modules, lm_head", lora(target_modules=["q_proj", "lm_head"]), refused="lm_head"),
)
REFUSED: tuple[Kind, ...] = (
    Kind("lora_bias without a bias", lora(lora_bias=True), refused="LoRA biases"),
    Kind("embedding, tied", lora(target_modules=["q_proj", "embed_tokens"]), "tied", refused="embed_tokens"),
    Kind("modules_to_save, tied", lora(modules_to_save=["embed_tokens"]), "tied", refused="modules_to_save"),
    Kind("lm_head, tied", lora(target_modules=["q_proj", "lm_head"]), "tied", refused="lm_head"),
    Kind("layer_replication", lora(layer_replication=[(0, 2), (1, 2)]), refused="layer_replication"),
    Kind(
        "target_parameters",
        lora(target_modules=["q_proj"], target_parameters=["mlp.up_proj.weight"]),
        refused="target_parameters",
    ),
    Kind("kasa_config", lora(kasa_config=KasaConfig()), refused="KaSA"),
    Kind("monteclora_config", lora(monteclora_config=MontecloraConfig()), refused="MonteCLoRA"),
    Kind("velora_config", lora(velora_config=VeloraConfig()), refused="VeLoRA"),
    Kind("VeRA without its projections", other("VeraConfig", r=8, save_projection=False), refused="save_projection"),
    Kind("IA3", other("IA3Config", feedforward_modules=["down_proj"]), refused="'IA3'"),
    Kind("OFT", other("OFTConfig", r=4, oft_block_size=0), refused="'OFT'"),
    Kind("BOFT", other("BOFTConfig", boft_block_size=4), refused="'BOFT'"),
    Kind("HRA", other("HRAConfig", r=4), refused="'HRA'"),
    Kind("FourierFT", other("FourierFTConfig", n_frequency=50), refused="'FOURIERFT'"),
    Kind("VBLoRA", other("VBLoRAConfig", r=4, num_vectors=16, vector_length=32), refused="'VBLORA'"),
    Kind("RandLoRA", other("RandLoraConfig", r=4), refused="'RANDLORA'"),
)
