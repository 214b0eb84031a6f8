"""LoKr: the Kronecker product of two small matrices, whose rank is the product of theirs.

Stored -> Plain
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgelora.adapter.foreign.stored import Plain, Stored, check_alone, number
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Factors

_KINDS = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")


def read_lokr(stored: Stored) -> Plain:
    """``kron(B1 A1, B2 A2) = kron(B1, B2) kron(A1, A2)``, exactly; raises AdapterError for convolutions."""
    check_alone(stored)
    factors = {}
    for module, parts in stored.parts(*_KINDS).items():
        (b1, a1), (b2, a2) = (_sides(stored, module, parts, name) for name in ("lokr_w1", "lokr_w2"))
        rank = number(stored, "r", module, "rank_pattern")
        scaling = number(stored, "alpha", module, "alpha_pattern") / rank
        factors[module] = Factors(np.kron(a1, a2), np.kron(b1, b2), scaling)
    return Plain(factors, ("LoKr as LoRA of the product of its ranks",))


def _sides(stored: Stored, module: str, parts: Mapping[str, FloatArray], name: str) -> tuple[FloatArray, FloatArray]:
    """One of the two matrices as B and A; a whole one is its own B or A beside an identity, whichever is less."""
    if name in parts:
        whole = parts[name]
        if whole.ndim != 2:
            raise stored.refused([f"{module}: {name} is {whole.shape}, expected two dimensions"])
        rows, columns = whole.shape
        return (
            (whole, np.eye(columns, dtype=np.float32)) if columns <= rows else (np.eye(rows, dtype=np.float32), whole)
        )
    pair = parts.get(f"{name}_a"), parts.get(f"{name}_b")
    if pair[0] is None or pair[1] is None:
        raise stored.refused([f"{module}: {name} is missing"])
    return pair[0], pair[1]
