"""PEFT's LoRA with options that change what the factors mean: QALoRA's pooling, starts that changed the base.

Stored, Base, initial Stored -> Plain
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgelora.adapter.foreign.stored import Base, Places, Plain, Stored, check_alone, need, number
from edgelora.checkpoint.names import turned, weight_of
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Factors
from edgelora_runtime.adapter_config import FORMS, changes_base

_QALORA = "use_qalora"


def read_peft_lora(stored: Stored, base: Base, initial: Stored | None) -> Plain:
    """Factors as PEFT's layers multiply with them; raises AdapterError for what is more than A and B.

    A start that took a part of the base away is subtracted again: as ``initial`` has it, the folder saved before the
    training, or as it follows from the weights of ``base``.
    """
    check_alone(stored)
    if wrong := [f"it uses {words}" for field, words in FORMS.items() if field != _QALORA and stored.config.get(field)]:
        raise stored.refused(wrong)
    factors = _factors(stored)
    plain = Plain(factors)
    if stored.config.get(_QALORA):
        plain = plain.then(*_unpooled(stored, factors, base.places))
    start = stored.config.get("init_lora_weights")
    if initial is not None:
        return plain.then(*_without_start(stored, plain.factors, initial))
    if isinstance(start, str) and changes_base(start):
        return plain.then(*_without_known_start(stored, plain.factors, base, start.lower()))
    return plain


def _factors(stored: Stored) -> dict[str, Factors]:
    factors = {}
    for module, parts in stored.parts("lora_A", "lora_B").items():
        a, b = need(stored, module, parts, "lora_A", "lora_B")
        rank = number(stored, "r", module, "rank_pattern")
        if a.ndim != 2 or b.ndim != 2 or (len(a), b.shape[1]) != (rank, rank):
            raise stored.refused([f"{module} has A {a.shape} and B {b.shape}, the configuration says rank {rank:g}"])
        alpha = number(stored, "lora_alpha", module, "alpha_pattern")
        factors[module] = Factors(a, b, alpha / (np.sqrt(rank) if stored.config.get("use_rslora") else rank))
    return factors


def _unpooled(stored: Stored, factors: Mapping[str, Factors], places: Places) -> tuple[dict[str, Factors], str]:
    """A that reads means of ``qalora_group_size`` inputs, times their number, as one that reads the inputs.

    PEFT pools in GPTQ layers alone and leaves the option unread in others: the width of A tells.
    """
    size = int(number(stored, "qalora_group_size"))
    told = {}
    for module, item in factors.items():
        if module not in places:
            raise stored.refused([f"the width of {module} is not known; name its base with --base"])
        groups, width = item.a.shape[1], places[module][1]
        if groups == width:
            told[module] = item
        elif groups * size == width:
            a = np.repeat(item.a, size, axis=1) * np.float32(groups / size)
            told[module] = Factors(a, item.b, item.scaling)
        else:
            raise stored.refused([f"{module} reads {groups} groups of {size}, but the base has {width} inputs"])
    return told, "QALoRA's pooling written into A, exactly"


def _without_start(stored: Stored, factors: Mapping[str, Factors], initial: Stored) -> tuple[dict[str, Factors], str]:
    """``B A - B0 A0`` side by side: what PEFT's own conversion gives."""
    starts = initial.parts("lora_A", "lora_B")
    if starts.keys() != factors.keys():
        raise stored.refused([f"{initial.where} is of other modules; give the folder saved before the training"])
    told = {}
    for module, item in factors.items():
        a, b = need(initial, module, starts[module], "lora_A", "lora_B")
        if a.shape != item.a.shape or b.shape != item.b.shape:
            raise stored.refused([f"{module} has other ranks or widths in {initial.where}"])
        told[module] = Factors(np.concatenate([item.a, a]), np.concatenate([item.b, -b], axis=1), item.scaling)
    return told, f"the start in {initial.where} subtracted, exactly"


def _without_known_start(
    stored: Stored, factors: Mapping[str, Factors], base: Base, start: str
) -> tuple[dict[str, Factors], str]:
    """The same where the start follows from the weights: PiSSA's singular vectors, OLoRA's QR."""
    if start not in ("pissa", "olora"):
        what = {"loftq": "the base that LoftQ quantized; export that base and set init_lora_weights to true"}
        needed = what.get(start, "the adapter as it was before the training; give its folder with --initial")
        raise stored.refused([f"init_lora_weights is {start!r}, which changed the base: it needs {needed}"])
    if base.checkpoint is None:
        told_start = f"init_lora_weights is {start!r}, which changed the base"
        raise stored.refused(
            [f"{told_start}: give its model with --base, or its folder before training with --initial"]
        )
    told = {}
    for module, item in factors.items():
        name = weight_of(module)
        if name not in base.checkpoint.names():
            raise stored.refused([f"{base.checkpoint.name} has no {module}"])
        weight = turned(name, base.checkpoint.read(name))
        if weight.shape != (len(item.b), item.a.shape[1]):
            raise stored.refused([f"{module} is {weight.shape} in {base.checkpoint.name}, another in the adapter"])
        b0, a0 = _start(weight, len(item.a), start, item.scaling)
        told[module] = Factors(np.concatenate([item.a, a0]), np.concatenate([item.b, -b0], axis=1), item.scaling)
    return told, f"{start}'s start, taken from the weights of {base.checkpoint.name}, subtracted"


def _start(weight: FloatArray, rank: int, start: str, scaling: float) -> tuple[FloatArray, FloatArray]:
    """B0 and A0, such that ``scaling * B0 A0`` is what was taken from the base."""
    if start == "olora":
        q, r = np.linalg.qr(weight.astype(np.float64))
        return q[:, :rank].astype(np.float32), r[:rank].astype(np.float32)
    u, values, v = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
    root = np.sqrt(values[:rank] / scaling)
    return (u[:, :rank] * root).astype(np.float32), (root[:, None] * v[:rank]).astype(np.float32)
