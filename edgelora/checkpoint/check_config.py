"""Holds the fields of a transformers configuration to their types and ranges before anything is built of them.

config -> nothing, or CheckpointError

What is missing or null is left to the architecture's own default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgelora.errors import CheckpointError
from edgelora_runtime.parse_json import join_some, show

_LARGEST = 1 << 24
_Rule = tuple[str, Callable[[Any], bool]]  # what is expected, and whether a value is


def _is_whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(least: float, most: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_COUNT: _Rule = (f"a whole number from 1 to {_LARGEST}", _is_whole(1, _LARGEST))
_LENGTH: _Rule = ("a whole number from 1 to 2^31 - 1", _is_whole(1, (1 << 31) - 1))
_WINDOW: _Rule = ("a whole number from 0 to 2^31 - 1", _is_whole(0, (1 << 31) - 1))
_OR_NONE: _Rule = (f"a whole number from -1 to {_LARGEST}", _is_whole(-1, _LARGEST))
_EPSILON: _Rule = ("a number from 0 to 0.1", _is_number(0, 0.1))
_THETA: _Rule = ("a number from 1 to 10^12", _is_number(1, 1e12))
_SHARE: _Rule = ("a number above 0, at most 1", _is_number(1e-6, 1))
_FACTOR: _Rule = ("a number", _is_number(-1e12, 1e12))
_TEXT: _Rule = ("text", lambda value: isinstance(value, str))
_TEXTS: _Rule = ("a list of texts", _is_list_of_text)
_YES_OR_NO: _Rule = ("true or false", lambda value: isinstance(value, bool))
_OBJECT: _Rule = ("an object", lambda value: isinstance(value, dict))

_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(
        (
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "n_embd", "n_layer", "n_head", "n_inner", "dim", "hidden_dim",
            "n_layers", "n_heads", "embedding_size", "image_size", "patch_size", "num_channels", "num_hidden_groups",
            "inner_group_num", "global_attn_every_n_layers", "local_attention", "relative_attention_num_buckets",
            "attention_head_size", "pooler_hidden_size", "conv_groups",
        ),
        _COUNT,
    ),
    **dict.fromkeys(("max_position_embeddings", "original_max_position_embeddings", "n_positions", "n_ctx"), _LENGTH),
    **dict.fromkeys(("sliding_window", "type_vocab_size", "conv_kernel_size"), _WINDOW),
    **dict.fromkeys(("position_buckets", "max_relative_positions"), _OR_NONE),
    **dict.fromkeys(("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps"), _EPSILON),
    **dict.fromkeys(("rope_theta", "rope_local_base_freq", "global_rope_theta", "local_rope_theta"), _THETA),
    "partial_rotary_factor": _SHARE,
    **dict.fromkeys(
        (
            "attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling",
            "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
        ),
        _FACTOR,
    ),
    **dict.fromkeys(("model_type", "torch_dtype", "dtype", "hidden_act", "hidden_activation", "norm_rel_ebd"), _TEXT),
    **dict.fromkeys(("architectures", "layer_types"), _TEXTS),
    **dict.fromkeys((
            "tie_word_embeddings", "attention_bias", "mlp_bias", "use_sliding_window", "relative_attention",
            "position_biased_input", "share_att_key", "norm_bias", "classifier_bias", "qkv_bias",
        ), _YES_OR_NO),
    **dict.fromkeys(("rope_scaling", "rope_parameters", "quantization_config", "text_config"), _OBJECT),
}  # fmt: skip


def check_config(config: Mapping[str, Any], name: str) -> None:
    """Raise one CheckpointError that names every field of another type or range, in a nested text config too."""
    wrong = [
        f"{place}{field} is {show(part[field])}, expected {expected}"
        for place, part in (("", config), ("text_config.", config.get("text_config") or {}))
        if isinstance(part, Mapping)
        for field, (expected, is_right) in _RULES.items()
        if part.get(field) is not None and not is_right(part[field])
        if not (place and isinstance(part[field], list))  # of an architecture that is refused by its name
    ]
    if wrong:
        raise CheckpointError(f"{name}: config.json: {join_some(wrong)}; mend it, or download it again")
