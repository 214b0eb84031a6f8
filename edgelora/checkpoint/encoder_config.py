"""One spelling of the configuration of an encoder, and one line for what no graph here can hold.

config of an encoder as somebody wrote it -> config in one spelling
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelora.checkpoint.rotary_config import LAYER_KINDS, is_positive
from edgelora.errors import CheckpointError
from edgelora_runtime.parse_json import join_some, show

ENCODERS = (
    "albert",
    "bert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "vit",
    "xlm-roberta",
)
"""Every encoder with a parity test; deberta-v3 has the architecture of deberta-v2."""

# What the classes of transformers read beside the arguments that they name.
READ_BESIDE: Mapping[str, tuple[str, ...]] = {
    "deberta": ("embedding_size", "pooler_hidden_size"),
    "deberta-v2": (
        "attention_head_size", "conv_act", "conv_groups", "conv_kernel_size", "embedding_size", "norm_rel_ebd",
        "pooler_hidden_size", "position_buckets", "share_att_key",
    ),
}  # fmt: skip
_ACTIVATIONS = (
    "gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "mish", "quick_gelu", "relu", "relu2", "silu", "tanh",
)  # fmt: skip
_ACTIVATION_KEYS = (
    "hidden_act", "hidden_activation", "activation", "classifier_activation", "pooler_act", "pooler_hidden_act",
    "conv_act",
)  # fmt: skip
_SAME_ACTIVATION = {"swish": "silu"}
_OTHER_MODELS = ("is_decoder", "add_cross_attention", "is_encoder_decoder", "talking_head", "pruned_heads")
_COUNTS = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def spell_encoder(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """``values`` as transformers 4.57 spells them; raises CheckpointError where two keys contradict each other."""
    spelled = {**values, "dtype": "float32"}
    for key in _ACTIVATION_KEYS:
        if isinstance(spelled.get(key), str):
            spelled[key] = _SAME_ACTIVATION.get(spelled[key], spelled[key])
    if spelled["model_type"] == "modernbert":
        _spell_modernbert(spelled, name)
    return spelled


def check_encoder(config: Any, values: Mapping[str, Any], name: str) -> None:
    """Raise one CheckpointError with every setting that the graph cannot hold.

    ``config`` is what transformers understood, ``values`` is all that was said.
    """
    is_image = config.model_type == "vit"
    for key in _COUNTS:
        value = getattr(config, key, None)
        if (key == "vocab_size" and is_image) or (value is None and key == "intermediate_size"):
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"{name}: {key} is {show(value)} in config.json; expected a whole number from 1")
    wrong = []
    if config.hidden_size % config.num_attention_heads and not getattr(config, "attention_head_size", None):
        wrong.append(f"hidden_size {config.hidden_size} is no multiple of {config.num_attention_heads} heads")
    wrong += [
        f"{key} is {show(getattr(config, key))}, the graph has {', '.join(_ACTIVATIONS)}"
        for key in _ACTIVATION_KEYS
        if getattr(config, key, "gelu") not in _ACTIVATIONS
    ]
    kind = values.get("position_embedding_type", "absolute")
    if kind not in ("absolute", None):
        wrong.append(f"position_embedding_type is {show(kind)}, expected absolute")
    wrong += [f"{key} is set" for key in _OTHER_MODELS if values.get(key)]
    if is_image:
        size, patch = config.image_size, config.patch_size
        if not isinstance(size, int) or not isinstance(patch, int) or patch < 1 or size < patch or size % patch:
            wrong.append(f"image_size is {show(size)}, expected a whole multiple of patch_size, which is {show(patch)}")
    if wrong:
        raise CheckpointError(f"{name} cannot be held by a graph here: {join_some(wrong)}")


def _spell_modernbert(values: dict[str, Any], name: str) -> None:
    """Transformers 5 says theta and the kinds of layers where transformers 4 has four numbers."""
    values["reference_compile"] = False  # compiled, the model would be another one on each machine
    parameters = values.pop("rope_parameters", None)
    if parameters is not None:
        if not isinstance(parameters, Mapping) or set(parameters) - set(LAYER_KINDS):
            raise CheckpointError(
                f"{name}: rope_parameters is {show(parameters)}; expected an object with {' and '.join(LAYER_KINDS)}"
            )
        for kind, key in zip(LAYER_KINDS, ("global_rope_theta", "local_rope_theta"), strict=True):
            found = parameters.get(kind) or {}
            if found.get("rope_type", "default") != "default":
                raise CheckpointError(
                    f"{name}: rope_parameters.{kind} scales by {show(found['rope_type'])}; the graph takes default"
                )
            _settle(values, key, found.get("rope_theta"), name)
            if not is_positive(values.get(key, 1)):
                raise CheckpointError(f"{name}: {key} is {show(values[key])}; expected a number above zero")
    kinds = values.pop("layer_types", None)
    if kinds is not None:
        _settle(values, "global_attn_every_n_layers", _period(kinds, values.get("num_hidden_layers"), name), name)


def _period(kinds: Any, layers: Any, name: str) -> int:
    """Every how many layers one attends to everything, the first included."""
    full = [index for index, kind in enumerate(kinds) if kind == LAYER_KINDS[0]] if isinstance(kinds, list) else []
    period = full[1] if len(full) > 1 else len(kinds) if full else 1
    expected = [LAYER_KINDS[index % period != 0] for index in range(layers if isinstance(layers, int) else len(kinds))]
    if not full or kinds != expected:
        raise CheckpointError(
            f"{name}: layer_types are {show(kinds)}; expected full_attention in every n-th layer from the first on"
        )
    return period


def _settle(values: dict[str, Any], key: str, found: Any, name: str) -> None:
    if found is None:
        return
    if values.get(key) not in (None, found):
        raise CheckpointError(
            f"{name}: config.json says {key} {show(values[key])}, and {show(found)} in the spelling of transformers 5; "
            "delete the wrong one"
        )
    values[key] = found
