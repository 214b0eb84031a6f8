"""Says in one line what no graph here can hold of a configuration, sizes that onnxruntime's attention refuses included.

config in one spelling -> nothing, or CheckpointError
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from edgelora.checkpoint.rotary_config import LAYER_KINDS, is_positive
from edgelora.errors import CheckpointError
from edgelora_runtime.parse_json import join_some, show

# Activations that PyTorch and the graph compute alike, as transformers names them.
_ACTIVATIONS = ("gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "mish", "quick_gelu", "relu", "relu2", "silu")
ACTIVATION_KEYS = {"gpt2": "activation_function", **dict.fromkeys(("gemma2", "gemma3_text"), "hidden_activation")}
_NO_DECODER = ("use_bidirectional_attention", "add_cross_attention")  # switches that make it another kind of model


def check_limits(config: Any, values: Mapping[str, Any], name: str) -> None:
    """Raise one CheckpointError with every setting that the graph cannot hold.

    ``config`` is what transformers understood, ``values`` is all that was said, settings of other architectures too.
    """
    heads, hidden, layers = config.num_attention_heads, config.hidden_size, config.num_hidden_layers
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    counts = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "hidden_size": hidden}
    counts |= {"num_hidden_layers": layers, "vocab_size": config.vocab_size}
    for key, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"{name}: {key} is {show(value)} in config.json; expected a whole number from 1")
    for key in ("rope_theta", "rope_local_base_freq", "rms_norm_eps", "layer_norm_epsilon"):
        if not is_positive(getattr(config, key, 1)):
            raise CheckpointError(f"{name}: {key} is {show(getattr(config, key))}; expected a number above zero")
    wrong = []
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    if not values.get("head_dim") and head_dim == hidden // heads and hidden % heads:
        wrong.append(f"hidden_size {hidden} is no multiple of {heads} heads")
    elif heads % kv_heads:
        wrong.append(f"{heads} heads are no multiple of {kv_heads} key/value heads")
    else:
        wrong += _check_head(config, head_dim)
    activation = getattr(config, ACTIVATION_KEYS.get(config.model_type, "hidden_act"), None)
    if activation not in _ACTIVATIONS:
        wrong.append(f"activation {show(activation)}, the graph has {', '.join(_ACTIVATIONS)}")
    wrong += [f"{key} is set" for key in _NO_DECODER if values.get(key)]
    if config.model_type == "gemma3_text":  # transformers leaves the one out, the frontend the other
        capped = ("attn_logit_softcapping", "final_logit_softcapping")
        wrong += [f"{key} is {show(getattr(config, key))}" for key in capped if getattr(config, key, None) is not None]
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and (len(kinds) != layers or set(kinds) - set(LAYER_KINDS)):
        wrong.append(f"layer_types are {show(kinds)}, expected {layers} of {' or '.join(LAYER_KINDS)}")
    wrong += _check_strangers(config, values, head_dim)
    if wrong:
        raise CheckpointError(f"{name} cannot be held by a graph here: {join_some(wrong)}")


def _check_head(config: Any, head_dim: int) -> list[str]:
    """What onnxruntime's attention says to a head of this size, and to the part of it that is rotated."""
    if config.model_type == "gpt2":
        return [] if head_dim % 8 == 0 else [f"heads of {head_dim} values, onnxruntime takes multiples of 8"]
    if head_dim % 16:
        return [f"heads of {head_dim} values, onnxruntime rotates multiples of 16"]
    rotated = int(head_dim * (getattr(config, "partial_rotary_factor", None) or 1))
    if not 0 < rotated <= head_dim or rotated % 16:
        return [f"{rotated} of {head_dim} values of a head are rotated, onnxruntime takes multiples of 16"]
    return []


def _is_one(value: Any) -> bool:
    return bool(value == 1)


def _check_strangers(config: Any, values: Mapping[str, Any], head_dim: int) -> list[str]:
    """Settings that change the answers of another architecture, where they say more than this one does anyway.

    transformers would pass over them, and other programs would not: whoever wrote them meant another model.
    """
    window = values.get("sliding_window")
    implied = "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    harmless: Mapping[str, Callable[[Any], bool]] = {
        "attention_multiplier": lambda value: math.isclose(value, head_dim**-0.5, rel_tol=1e-6),
        "query_pre_attn_scalar": lambda value: value == head_dim,
        **dict.fromkeys(("embedding_multiplier", "residual_multiplier", "logits_scaling", "logit_scale"), _is_one),
        **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping", "clip_qkv", "alibi"), operator.not_),
        **dict.fromkeys(("rope_interleave", "rope_interleaved", "attn_temperature_tuning"), operator.not_),
        "no_rope_layers": lambda value: isinstance(value, list) and all(value),
        "layer_types": lambda value: (not window and set(value) <= {"full_attention"}) or set(value) == {implied},
        "sliding_window": lambda value: (
            values.get("use_sliding_window") is False or value < 1 or value >= config.max_position_embeddings
        ),
        "partial_rotary_factor": _is_one,
        "rope_local_base_freq": lambda value: value == getattr(config, "rope_theta", None),
    }
    return [
        f"{key} is {show(values[key])}, which {config.model_type} does not have"
        for key, is_harmless in harmless.items()
        if values.get(key) is not None and not hasattr(config, key) and not is_harmless(values[key])
    ]
