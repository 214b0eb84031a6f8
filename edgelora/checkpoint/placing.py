"""Gives the tensors of a model that reads a text or an image once the names of its task's state dict.

names in the files, model_type, task -> names, notes

Files were saved with the base model alone, with another head, or with that of pretraining.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from edgelora.checkpoint.encoder_config import ENCODERS
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
)

_PREFIXES = {
    **{name: name for name in ENCODERS},
    "deberta-v2": "deberta",
    "gpt2": "transformer",
    "modernbert": "model",
    "xlm-roberta": "roberta",
}
_DECODER = "model"  # prefix of every decoder but gpt2
# Where a bare model begins, whatever it is.
_ROOTS = re.compile(
    r"^(embeddings|encoder|transformer|layers|final_norm|embeddings_project|layernorm|pooler|embed_tokens|norm|h|wte"
    r"|wpe|ln_f)\."
)
_HEADS = re.compile(r"^(classifier|pre_classifier|score|head|pooler)\.")
_OF_PRETRAINING = re.compile(
    r"^(cls|lm_head|predictions|sop_classifier|vocab_transform|vocab_layer_norm|vocab_projector|decoder|qa_outputs"
    r"|(discriminator|generator|lm|mask)_predictions|generator_lm_head)\."
)
_OLD_NORM = re.compile(r"LayerNorm\.(gamma|beta)$")
_OLD_NORM_NAMES = {"gamma": "LayerNorm.weight", "beta": "LayerNorm.bias"}

_ONE_LAYER = ("classifier",)
_POOLED = ("{}.pooler.dense", "classifier")
_TWO_LAYERS = ("classifier.dense", "classifier.out_proj")
_CONTEXT = ("pooler.dense", "classifier")
_MODERN = ("head.dense", "head.norm", "classifier")
_HEADS_OF_TEXTS = {
    "albert": ("{}.pooler", "classifier"),
    "bert": _POOLED,
    "deberta": _CONTEXT,
    "deberta-v2": _CONTEXT,
    "distilbert": ("pre_classifier", "classifier"),
    "electra": _TWO_LAYERS,
    "modernbert": _MODERN,
    "mpnet": _TWO_LAYERS,
    "roberta": _TWO_LAYERS,
    "xlm-roberta": _TWO_LAYERS,
}


@dataclass(frozen=True)
class Placed:
    """Where tensors of the files belong: ``names`` is name in the file -> name in the state dict."""

    names: Mapping[str, str]
    notes: tuple[str, ...]


def head_modules(model_type: str, task: str) -> tuple[str, ...]:
    """The modules of the head of a task, in the order in which they are run."""
    if task == FEATURE_EXTRACTION:
        return ()
    if task == IMAGE_CLASSIFICATION:
        return _ONE_LAYER
    if model_type not in ENCODERS:
        return ("score",)
    if task == TOKEN_CLASSIFICATION:
        return _MODERN if model_type == "modernbert" else _ONE_LAYER
    assert task == TEXT_CLASSIFICATION
    return tuple(module.format(_PREFIXES[model_type]) for module in _HEADS_OF_TEXTS[model_type])


def label_module(model_type: str, task: str) -> str:
    """The module of the head whose rows are the labels."""
    return head_modules(model_type, task)[-1]


def place_tensors(names: Collection[str], config: Mapping[str, Any], task: str, keep_labels: bool) -> Placed:
    """Names of the state dict that the task's class of transformers has; what belongs to other heads is left out.

    Without ``keep_labels`` a classifier in the files answers another question, and is left out too.
    """
    model_type = config["model_type"]
    prefix = f"{_PREFIXES.get(model_type, _DECODER)}."
    heads = head_modules(model_type, task)
    placed: dict[str, str] = {}
    left_out = {"of pretraining": 0, "of other tasks": 0}
    for stored in names:
        name = _OLD_NORM.sub(lambda found: _OLD_NORM_NAMES[found[1]], stored)
        if _OF_PRETRAINING.match(name):
            left_out["of pretraining"] += 1
            continue
        core = name.removeprefix(prefix) if name.startswith(prefix) else None
        if core is None and _ROOTS.match(name) and not _is_of(name, heads):
            core = name
        full = name if core is None else prefix + core
        if _is_of(full, heads):
            is_label = _is_of(full, heads[-1:]) or full.startswith("classifier.")
            if keep_labels or not is_label:
                placed[stored] = full
            else:
                left_out["of other tasks"] += 1
        elif core is not None and not core.startswith("pooler."):
            if not _is_unused(core, config):
                placed[stored] = core if task == FEATURE_EXTRACTION else full
        elif core is not None or _HEADS.match(name):
            left_out["of other tasks"] += 1
        else:
            placed[stored] = name  # nobody's: whoever builds the model says so
    notes = tuple(
        f"{count} {'tensor is' if count == 1 else 'tensors are'} of heads {whose}, which {task} does not use, and "
        f"{'was' if count == 1 else 'were'} left out."
        for whose, count in left_out.items()
        if count
    )
    return Placed(placed, notes)


def _is_of(name: str, modules: Collection[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _is_unused(core: str, config: Mapping[str, Any]) -> bool:
    """Tables that pretraining stored and the model does not read."""
    if core == "embeddings.mask_token":
        return True
    return core.startswith("embeddings.position_embeddings") and config.get("position_biased_input") is False
