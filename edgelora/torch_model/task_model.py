"""The transformers class of a task, and what such a model answers for texts: the numbers that a graph gives.

configuration, Task -> torch model; torch model, token ids -> logits or embeddings
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers.modeling_layers import GenericForSequenceClassification

from edgelora.checkpoint.encoder_config import ENCODERS
from edgelora.checkpoint.pooling import CLS, MEAN
from edgelora.errors import CheckpointError
from edgelora.values import Task
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    TEXT_GENERATION,
    TOKEN_CLASSIFICATION,
)

_CLASSES = {
    TEXT_GENERATION: transformers.AutoModelForCausalLM,
    TEXT_CLASSIFICATION: transformers.AutoModelForSequenceClassification,
    TOKEN_CLASSIFICATION: transformers.AutoModelForTokenClassification,
    FEATURE_EXTRACTION: transformers.AutoModel,
    IMAGE_CLASSIFICATION: transformers.AutoModelForImageClassification,
}
_WITH_POOLER = ("albert", "bert", "mpnet", "roberta", "xlm-roberta")  # whose bare model has one unless told otherwise


class GraniteForSequenceClassification(
    GenericForSequenceClassification,  # type: ignore[misc]
    transformers.models.granite.modeling_granite.GranitePreTrainedModel,  # type: ignore[misc]
):
    """What transformers has for other decoders."""


class Olmo2ForSequenceClassification(
    GenericForSequenceClassification,  # type: ignore[misc]
    transformers.models.olmo2.modeling_olmo2.Olmo2PreTrainedModel,  # type: ignore[misc]
):
    """What transformers has for other decoders."""


_OWN: dict[str, Any] = {"granite": GraniteForSequenceClassification, "olmo2": Olmo2ForSequenceClassification}


def build_model(config: Any, task: Task, **options: Any) -> Any:
    """The float32 model of ``task`` with weights yet to be filled in; ``config`` gets the labels of the head."""
    if task.head is not None:
        labels = dict(enumerate(task.head.labels))
        config.id2label, config.label2id = labels, {label: index for index, label in labels.items()}
        config.problem_type = task.head.problem_type
    if task.name == TEXT_CLASSIFICATION and config.model_type in _OWN:
        return _OWN[config.model_type]._from_config(config, dtype=torch.float32, **options)
    if task.name == FEATURE_EXTRACTION and config.model_type in _WITH_POOLER:
        options["add_pooling_layer"] = False
    return _CLASSES[task.name].from_config(config, dtype=torch.float32, **options)


def attention_of(config: Any) -> str | None:
    """The implementation of attention that computes what the model asks for; None where any does."""
    if config.model_type in ENCODERS:
        return "eager"
    # sdpa leaves softcapping and gpt2's own scales out without a word; the plain implementation has them.
    softcapped = getattr(config, "attn_logit_softcapping", None) is not None
    scaled = getattr(config, "scale_attn_by_inverse_layer_idx", False) or not getattr(
        config, "scale_attn_weights", True
    )
    return "eager" if softcapped or scaled else None


def answer(model: Any, task: Task, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Logits (batch, labels) or (batch, sequence, labels), or embeddings (batch, hidden_size), of texts.

    ``ids`` and ``mask`` are (batch, sequence) with padding on the right; what stands there changes nothing.
    """
    if task.name == FEATURE_EXTRACTION:
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        vectors = _pool(hidden, mask, task.pooling or MEAN)
        return torch.nn.functional.normalize(vectors, dim=-1) if task.normalize else vectors
    if task.name == TEXT_CLASSIFICATION and model.config.model_type not in ENCODERS:
        # transformers looks for the last token that is not the one of padding, which a text may end with.
        hidden = getattr(model, model.base_model_prefix)(input_ids=ids, attention_mask=mask).last_hidden_state
        logits: torch.Tensor = model.score(_last(hidden, mask))
        return logits
    if task.name not in (TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION):
        raise CheckpointError(f"a model opened for {task.name} does not answer for a text at once")
    logits = model(input_ids=ids, attention_mask=mask).logits
    return logits


def _pool(hidden: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    if mode == CLS:
        return hidden[:, 0]
    if mode != MEAN:
        return _last(hidden, mask)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The vectors (batch, hidden_size) of the last token of each text."""
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
