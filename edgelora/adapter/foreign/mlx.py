"""mlx-lm's adapters: LoRA whose factors lie the other way around, with its scale written out.

Stored -> Plain
"""

from __future__ import annotations

import numpy as np

from edgelora.adapter.foreign.stored import Plain, Stored, need
from edgelora_runtime.adapter import Factors
from edgelora_runtime.parse_json import show


def is_mlx(stored: Stored) -> bool:
    """Whether the settings are those that mlx-lm writes."""
    return "peft_type" not in stored.config and (
        "lora_parameters" in stored.config or "fine_tune_type" in stored.config
    )


def read_mlx(stored: Stored) -> Plain:
    """``scale * lora_b.T @ lora_a.T``; raises AdapterError for DoRA, whole weights, experts and quantized factors."""
    kind = stored.config.get("fine_tune_type", "lora")
    settings = stored.config.get("lora_parameters")
    if kind != "lora":
        raise stored.refused([f"fine_tune_type is {show(kind)}, expected 'lora'"])
    scale = settings.get("scale") if isinstance(settings, dict) else None
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not np.isfinite(scale):
        raise stored.refused([f"lora_parameters.scale is {show(scale)}, expected a number"])
    factors = {}
    for module, parts in stored.parts("lora_a", "lora_b").items():
        a, b = need(stored, module, parts, "lora_a", "lora_b")
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise stored.refused([f"{module} has lora_a {a.shape} and lora_b {b.shape}, expected (in, r) and (r, out)"])
        factors[module] = Factors(np.ascontiguousarray(a.T), np.ascontiguousarray(b.T), float(scale))
    return Plain(factors, ("mlx-lm's factors turned around, exactly",))
