"""One spelling of a base model's configuration, whoever wrote it, and one line for what no graph here can hold.

Knows nothing about tensors: training, the grid's calibration and the frontends all read what comes out of here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from edgelora.errors import CheckpointError
from edgelora.rotary_config import LAYER_KINDS, is_positive, normalise_rotary
from edgelora.types import Checkpoint
from edgelora_runtime.parse_json import join_some, show

ARCHITECTURES = (
    "gemma",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "granite",
    "llama",
    "mistral",
    "olmo2",
    "phi3",
    "qwen2",
    "qwen3",
    "smollm3",
)
"""Every architecture with a parity test; ``export`` and ``train`` refuse the others."""

# Activations that PyTorch and the graph compute alike, as transformers names them.
_ACTIVATIONS = ("gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "mish", "quick_gelu", "relu", "relu2", "silu")
_SAME_ACTIVATION = {"swish": "silu"}
_NO_DECODER = ("use_bidirectional_attention", "add_cross_attention")  # switches that make it another kind of model
_ACTIVATION_KEYS = {"gpt2": "activation_function", **dict.fromkeys(("gemma2", "gemma3_text"), "hidden_activation")}

_SHARED_KEYS = ("eos_token_id", "bos_token_id", "pad_token_id", "tie_word_embeddings")  # beside a text_config too
_NOT_READ = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)  # of transformers


def normalise(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """``config`` as transformers 4.57 spells it, with float32 as its type: the weights are read as such.

    Takes the spellings of transformers 4 and 5 (``rope_parameters``, flat or for each kind of layer, ``dtype``) and the
    ``text_config`` of a model that reads images too. Raises CheckpointError for an architecture or a setting that the
    graph cannot hold, and where two keys contradict each other.
    """
    values = _text_part(config, name)
    model_type = values["model_type"]
    for key in ("torch_dtype", "quantization_config"):
        values.pop(key, None)
    if values.get("head_dim", 0) is None:
        del values["head_dim"]  # some architectures take null for a size
    values["dtype"] = "float32"
    if model_type == "gpt2":
        values.pop("rope_parameters", None)
        values.pop("rope_scaling", None)
    else:
        normalise_rotary(values, name)
    key = _ACTIVATION_KEYS.get(model_type, "hidden_act")
    if values.get(key) in _SAME_ACTIVATION:
        values[key] = _SAME_ACTIVATION[values[key]]
    if key == "hidden_activation":
        values.pop("hidden_act", None)  # transformers reads the other one, the frontend this one first
    _check(values, name)
    return values


def _text_part(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    values = dict(config)
    inner = values.get("text_config")
    if isinstance(inner, Mapping) and values.get("model_type") not in ARCHITECTURES:
        values = {key: values[key] for key in _SHARED_KEYS if key in values} | dict(inner)
    model_type = values.get("model_type")
    if not isinstance(model_type, str):
        raise CheckpointError("config.json has no model_type; it is not the configuration of a transformers model")
    if model_type not in ARCHITECTURES:
        raise CheckpointError(
            f"{name}: architecture {show(model_type)} is not supported; supported are {', '.join(ARCHITECTURES)}"
        )
    return values


def _check(values: Mapping[str, Any], name: str) -> None:
    """Raise one line with every setting that the graph cannot hold."""
    config = hf_config(values, name)
    model_type = values["model_type"]
    wrong = []
    heads: Any = getattr(config, "num_attention_heads", None)
    hidden: Any = getattr(config, "hidden_size", None)
    layers: Any = getattr(config, "num_hidden_layers", None)
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    counts = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "hidden_size": hidden}
    counts |= {"num_hidden_layers": layers, "vocab_size": getattr(config, "vocab_size", None)}
    for key, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"{name}: {key} is {show(value)} in config.json; expected a whole number from 1")
    for key in ("rope_theta", "rope_local_base_freq", "rms_norm_eps", "layer_norm_epsilon"):
        if not is_positive(getattr(config, key, 1)):
            raise CheckpointError(f"{name}: {key} is {show(getattr(config, key))}; expected a number above zero")
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    if not values.get("head_dim") and head_dim == hidden // heads and hidden % heads:
        wrong.append(f"hidden_size {hidden} is no multiple of {heads} heads")
    elif heads % kv_heads:
        wrong.append(f"{heads} heads are no multiple of {kv_heads} key/value heads")
    else:
        wrong += _check_head(config, model_type, head_dim)
    activation = getattr(config, _ACTIVATION_KEYS.get(model_type, "hidden_act"), None)
    if activation not in _ACTIVATIONS:
        wrong.append(f"activation {show(activation)}, the graph has {', '.join(_ACTIVATIONS)}")
    wrong += [f"{key} is set" for key in _NO_DECODER if getattr(config, key, False)]
    if model_type == "gemma3_text":  # transformers leaves the one out, the frontend the other
        capped = ("attn_logit_softcapping", "final_logit_softcapping")
        wrong += [f"{key} is {show(getattr(config, key))}" for key in capped if getattr(config, key, None) is not None]
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and (len(kinds) != layers or set(kinds) - set(LAYER_KINDS)):
        wrong.append(f"layer_types are {show(kinds)}, expected {layers} of {' or '.join(LAYER_KINDS)}")
    if wrong:
        raise CheckpointError(f"{name} cannot be held by a graph here: {join_some(wrong)}")


def _check_head(config: Any, model_type: str, head_dim: int) -> list[str]:
    """What onnxruntime's attention says to a head of this size, and to the part of it that is rotated."""
    if model_type == "gpt2":
        return [] if head_dim % 8 == 0 else [f"heads of {head_dim} values, onnxruntime takes multiples of 8"]
    if head_dim % 16:
        return [f"heads of {head_dim} values, onnxruntime rotates multiples of 16"]
    part = getattr(config, "partial_rotary_factor", None) or 1
    if part == 1:
        return []
    if model_type != "phi3":
        return [f"partial_rotary_factor is {show(part)}, which {model_type} does not have"]
    rotated = int(head_dim * part)
    if not 0 < rotated <= head_dim or rotated % 16:
        return [f"{rotated} of {head_dim} values of a head are rotated, onnxruntime takes multiples of 16"]
    return []


def read_config(checkpoint: Checkpoint) -> Any:
    """The configuration object of transformers for a checkpoint; raises what ``normalise`` does."""
    return hf_config(normalise(checkpoint.config, checkpoint.name), checkpoint.name)


def hf_config(values: Mapping[str, Any], name: str) -> Any:
    """The configuration object of transformers; raises CheckpointError in one line where it takes none of it."""
    from transformers import AutoConfig  # half a second that a command without a base model does not pay

    settings = {key: copy.deepcopy(value) for key, value in values.items() if key != "model_type"}
    try:
        return AutoConfig.for_model(values["model_type"], **settings)
    except _NOT_READ as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CheckpointError(
            f"transformers cannot read the config of {name} (model_type {values['model_type']!r}): {reason}"
        ) from error
