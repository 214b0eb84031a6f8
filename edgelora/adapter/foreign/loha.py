"""LoHa: the elementwise product of two low-rank matrices, which is a low-rank matrix of the product of both ranks.

Stored -> Plain
"""

from __future__ import annotations

import numpy as np

from edgelora.adapter.foreign.stored import Plain, Stored, check_alone, need, number
from edgelora_runtime.adapter import Factors

_KINDS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


def read_loha(stored: Stored) -> Plain:
    """Every pair of directions multiplied: rank r * r, exactly; raises AdapterError for convolutions."""
    check_alone(stored)
    factors = {}
    for module, parts in stored.parts(*_KINDS).items():
        one_b, one_a, two_b, two_a = need(stored, module, parts, *_KINDS)
        rank = one_a.shape[0]
        b = np.einsum("oi,oj->oij", one_b, two_b).reshape(len(one_b), -1)
        a = np.einsum("in,jn->ijn", one_a, two_a).reshape(-1, one_a.shape[1])
        scaling = number(stored, "alpha", module, "alpha_pattern") / rank
        factors[module] = Factors(a, b, scaling)
    return Plain(factors, ("LoHa as LoRA of the product of its ranks",))
