"""One spelling of a base model's configuration, whoever wrote it, and one line for what no graph here can hold.

config as somebody wrote it -> config in one spelling

Training, the grid's calibration and the frontends all read what comes out of here.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from edgelora.checkpoint.config_limits import ACTIVATION_KEYS, check_limits
from edgelora.checkpoint.encoder_config import ENCODERS, READ_BESIDE, check_encoder, spell_encoder
from edgelora.checkpoint.rotary_config import normalise_rotary
from edgelora.errors import CheckpointError
from edgelora.values import Checkpoint
from edgelora_runtime.parse_json import show

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
"""Every decoder with a parity test; ``export`` and ``train`` refuse what is neither here nor among the encoders."""

_SAME_ACTIVATION = {"swish": "silu"}
_SHARED_KEYS = ("eos_token_id", "bos_token_id", "pad_token_id", "tie_word_embeddings")  # beside a text_config too
_NOT_READ = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)  # of transformers
# What others read of every config, and what the classes of transformers read beside the arguments that they name.
_ALWAYS_READ = ("model_type", "architectures", "dtype", *_SHARED_KEYS)
_ROTATING = ("head_dim", "rope_scaling", "original_max_position_embeddings")
_READ_BESIDE = {"gpt2": (), "gemma3_text": (*_ROTATING, "sliding_window_pattern")}
_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "max_position_embeddings", "n_embd", "n_layer", "n_head", "n_positions", "dim", "hidden_dim", "n_heads", "n_layers",
    "embedding_size", "image_size", "patch_size", "num_channels",
)  # fmt: skip


def normalise(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """``config`` as transformers 4.57 spells it, with float32 as its type: the weights are read as such.

    Takes the spellings of transformers 4 and 5 (``rope_parameters``, flat or for each kind of layer, ``dtype``) and the
    ``text_config`` of a model that reads images too. Sizes that are left out are those of the architecture. Nothing is
    left that transformers does not read, so that no other reader finds a meaning in it.
    Raises CheckpointError for an architecture or a setting that the graph cannot hold, for settings of other
    architectures, and where two keys contradict each other.
    """
    values = _text_part(config, name)
    model_type = values["model_type"]
    if model_type in ENCODERS:
        return _normalise_encoder(values, name)
    if values.get("head_dim", 0) is None:
        del values["head_dim"]  # some architectures take null for a size
    values["dtype"] = "float32"
    if model_type != "gpt2":
        normalise_rotary(values, name)
    key = ACTIVATION_KEYS.get(model_type, "hidden_act")
    if values.get(key) in _SAME_ACTIVATION:
        values[key] = _SAME_ACTIVATION[values[key]]
    known = _known_keys(model_type)
    read = {key: value for key, value in values.items() if key in known}
    hf = hf_config(read, name)
    check_limits(hf, values, name)
    return _with_sizes(read, hf, known)


def _normalise_encoder(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    values = spell_encoder(config, name)
    known = _known_keys(values["model_type"])
    read = {key: value for key, value in values.items() if key in known}
    hf = hf_config(read, name)
    check_encoder(hf, values, name)
    return {"pad_token_id": hf.pad_token_id, **_with_sizes(read, hf, known)}


def _with_sizes(read: Mapping[str, Any], hf: Any, known: frozenset[str]) -> dict[str, Any]:
    """What was said, and the sizes that were left out."""
    left_out = [key for key in _SIZES if key in known and key not in (*read, *hf.attribute_map)]
    return {**read, **{key: getattr(hf, key) for key in left_out if hasattr(hf, key)}}


def _known_keys(model_type: str) -> frozenset[str]:
    """What transformers reads of a config of that architecture, its second names of sizes included."""
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[model_type]
    beside = READ_BESIDE.get(model_type, ()) if model_type in ENCODERS else _READ_BESIDE.get(model_type, _ROTATING)
    named = set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"}
    return frozenset({*named, *kind.attribute_map, *_ALWAYS_READ, *beside})


def _text_part(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    values = dict(config)
    inner = values.get("text_config")
    if isinstance(inner, Mapping) and values.get("model_type") not in (*ARCHITECTURES, *ENCODERS):
        values = {key: values[key] for key in _SHARED_KEYS if key in values} | dict(inner)
    model_type = values.get("model_type")
    if not isinstance(model_type, str):
        raise CheckpointError("config.json has no model_type; it is not the configuration of a transformers model")
    if model_type not in (*ARCHITECTURES, *ENCODERS):
        known = ", ".join((*ARCHITECTURES, *ENCODERS))
        raise CheckpointError(f"{name}: architecture {show(model_type)} is not supported; supported are {known}")
    return values


def read_config(checkpoint: Checkpoint) -> Any:
    """The configuration object of transformers for a checkpoint; raises what ``normalise`` does."""
    return hf_config(normalise(checkpoint.config, checkpoint.name), checkpoint.name)


def hf_config(values: Mapping[str, Any], name: str) -> Any:
    """The configuration object of transformers; raises CheckpointError in one line where it takes none of it."""
    from transformers import AutoConfig  # half a second that a command without a base model does not pay

    settings = {key: copy.deepcopy(value) for key, value in values.items() if key != "model_type"}
    scaling = settings.pop("rope_scaling", None)
    try:
        config = AutoConfig.for_model(values["model_type"], **settings)
    except _NOT_READ as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CheckpointError(
            f"transformers cannot read the config of {name} (model_type {values['model_type']!r}): {reason}"
        ) from error
    if values["model_type"] not in ("gpt2", *ENCODERS):
        config.rope_scaling = scaling  # some classes count its keys and take no rope_type; their models read all of it
    return config
