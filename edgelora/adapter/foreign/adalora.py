"""AdaLoRA: LoRA with a value for each direction, some of which were cut while it was trained.

Stored -> Plain
"""

from __future__ import annotations

from edgelora.adapter.foreign.stored import Plain, Stored, check_alone, need, number
from edgelora_runtime.adapter import Factors

_AGAINST_ZERO = 1e-5  # what PEFT adds to the rank that it divides by


def read_adalora(stored: Stored) -> Plain:
    """``alpha / init_r * B diag(E) A``, whatever rank is left of a module."""
    check_alone(stored)
    scaling = number(stored, "lora_alpha") / (number(stored, "init_r") + _AGAINST_ZERO)
    factors = {}
    for module, parts in stored.parts("lora_A", "lora_B", "lora_E").items():
        a, b, e = need(stored, module, parts, "lora_A", "lora_B", "lora_E")
        if len(a):  # nothing is left of a module that lost every direction
            factors[module] = Factors(e.reshape(-1, 1) * a, b, scaling)
    return Plain(factors, ("AdaLoRA as the LoRA that it is, exactly",))
