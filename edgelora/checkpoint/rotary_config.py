"""The rotary settings of a configuration in one spelling, and one line for what no table of positions can hold.

config -> the same config with one spelling of its rotary settings

How frequencies come from these is the frontends' matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgelora.errors import CheckpointError
from edgelora_runtime.parse_json import show

LAYER_KINDS = ("full_attention", "sliding_attention")
# Scalings whose frequencies do not depend on a prompt's length. "dynamic" changes them beyond the model's own context
# alone, where no artifact goes, and "longrope" beyond its original one.
_SCALING_KEYS: Mapping[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor", "original_max_position_embeddings"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}),
    "yarn": frozenset(
        {
            "factor",
            "original_max_position_embeddings",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
        }
    ),
    "longrope": frozenset({"factor", "long_factor", "short_factor", "attention_factor"}),
}
_REQUIRED_KEYS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("linear", "dynamic", "yarn"), frozenset({"factor"})),
    "llama3": _SCALING_KEYS["llama3"],
    "longrope": frozenset({"long_factor", "short_factor"}),
}
_LISTS = frozenset({"long_factor", "short_factor"})
_OLD_LONGROPE = ("su", "yarn")  # what phi3 called longrope before transformers did


def normalise_rotary(values: dict[str, Any], name: str) -> None:
    """Leave ``rope_theta``, ``rope_scaling`` and, for gemma3, ``rope_local_base_freq``, and nothing else."""
    parameters = values.pop("rope_parameters", None)
    scaling = values.pop("rope_scaling", None)
    for key, value in (("rope_parameters", parameters), ("rope_scaling", scaling)):
        if not isinstance(value, Mapping | None):
            raise CheckpointError(f"{name}: {key} is {show(value)} in config.json; expected an object or null")
    local = None
    if parameters:
        parameters, local = _by_layer(parameters, values, name)
        if scaling and _spell(scaling, values, name, "rope_scaling") != _spell(
            _without_theta(parameters), values, name, "rope_parameters"
        ):
            raise CheckpointError(
                f"{name}: rope_parameters and rope_scaling of config.json say different things; delete the wrong one"
            )
        _settle(values, "rope_theta", parameters.get("rope_theta"), name)
        scaling = _without_theta(parameters)
    elif scaling and "rope_theta" in scaling:
        _settle(values, "rope_theta", scaling["rope_theta"], name)
        scaling = _without_theta(scaling)
    if local is not None:
        _settle(values, "rope_local_base_freq", local, name)
    values["rope_scaling"] = _spell(scaling or {}, values, name, "rope_parameters" if parameters else "rope_scaling")


def _by_layer(
    parameters: Mapping[str, Any], values: Mapping[str, Any], name: str
) -> tuple[Mapping[str, Any], float | None]:
    """Rotary parameters of the layers that attend to everything, and theta of the others where they have their own."""
    if not any(kind in parameters for kind in LAYER_KINDS):
        return parameters, None
    if stray := sorted(parameters.keys() - set(LAYER_KINDS)):
        raise CheckpointError(
            f"{name}: rope_parameters has {show(stray[0])} beside the kinds of layers; "
            f"expected {' and '.join(LAYER_KINDS)}"
        )
    full, sliding = (parameters.get(kind) for kind in LAYER_KINDS)
    for kind, found in zip(LAYER_KINDS, (full, sliding), strict=True):
        if not isinstance(found, Mapping | None):
            raise CheckpointError(f"{name}: rope_parameters.{kind} is {show(found)}; expected an object")
    if not full or not sliding or full == sliding:
        return full or sliding or {}, None
    if values["model_type"] != "gemma3_text":
        raise CheckpointError(
            f"{name}: rope_parameters differ between kinds of layers, which {values['model_type']} does not have"
        )
    if sliding.get("rope_type", "default") != "default":
        raise CheckpointError(
            f"{name}: rope_parameters.sliding_attention scales by {show(sliding['rope_type'])}; "
            "the graph takes default there"
        )
    theta = sliding.get("rope_theta")
    return full, None if theta is None else theta


def _without_theta(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if key != "rope_theta"}


def _settle(values: dict[str, Any], key: str, found: object, name: str) -> None:
    """Take ``found`` for ``key``; raise where the config says something else in its old place."""
    if found is None:
        return
    if key in values and values[key] is not None and values[key] != found:
        raise CheckpointError(
            f"{name}: config.json says {key} {show(values[key])}, and {show(found)} in its rotary parameters; "
            "delete the wrong one"
        )
    values[key] = found


def _spell(scaling: Mapping[str, Any], values: dict[str, Any], name: str, key: str) -> dict[str, Any] | None:
    """Scaling as transformers 4.57 reads it; what belongs beside it goes into ``values``."""
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if "type" in scaling and scaling["type"] != kind:
        raise CheckpointError(f"{name}: {key} says type {show(scaling['type'])} and rope_type {show(kind)}")
    if values["model_type"] == "phi3" and kind in _OLD_LONGROPE and "long_factor" in scaling:
        kind = "longrope"
    if not isinstance(kind, str) or kind not in _SCALING_KEYS:
        raise CheckpointError(
            f"{name}: {key} scales rotary positions by {show(kind)}; the graph holds {', '.join(_SCALING_KEYS)}"
        )
    given = {part: value for part, value in scaling.items() if part not in ("rope_type", "type") and value is not None}
    for part in ("partial_rotary_factor", "original_max_position_embeddings"):
        # transformers 5 keeps these with the others, transformers 4 beside them
        if part in given and part not in _SCALING_KEYS[kind]:
            _settle(values, part, given.pop(part), name)
    if stray := sorted(given.keys() - _SCALING_KEYS[kind]):
        raise CheckpointError(f"{name}: {key} has {show(stray[0])}, which {kind} does not have; delete it")
    if missing := sorted(_REQUIRED_KEYS.get(kind, frozenset()) - given.keys()):
        raise CheckpointError(f"{name}: {key} lacks {', '.join(missing)}, which {kind} needs")
    for part, value in given.items():
        items = value if part in _LISTS and isinstance(value, list) else [value]
        if part != "truncate" and not (items and all(is_positive(item) for item in items)):
            raise CheckpointError(f"{name}: {key}.{part} is {show(value)}; expected numbers above zero")
    long, short = values.get("max_position_embeddings"), values.get("original_max_position_embeddings")
    has_ratio = kind == "longrope" and "factor" in given and "attention_factor" not in given
    if has_ratio and long and short and not math.isclose(long / short, given["factor"], rel_tol=1e-6):
        raise CheckpointError(
            f"{name}: {key}.factor is {show(given['factor'])}, but its lengths are {long} and {short}; "
            "delete the wrong one"
        )
    if kind == "default":
        return None
    return {"rope_type": kind, **given}


def is_positive(value: object) -> bool:
    """Whether it is a finite number above zero."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
