"""VeRA: two random matrices for the whole model, and for each module two vectors that scale them: plain LoRA.

Stored, Places -> Plain
"""

from __future__ import annotations

from edgelora.adapter.foreign.stored import Places, Plain, Stored, check_alone, need
from edgelora_runtime.adapter import Factors

_SHARED = ("base_model.vera_A", "base_model.vera_B")


def read_vera(stored: Stored, places: Places) -> Plain:
    """``diag(b) B diag(d) A`` of every module, cut to its width; raises AdapterError where widths are not known.

    B takes both vectors, so that modules of one width have the same A, and so do adapters of one draw. The file holds
    neither the width of a module's input, nor, saved without its projections, A and B themselves.
    """
    check_alone(stored)
    shared = [stored.tensors.get(name, stored.tensors.get(name.removeprefix("base_model."))) for name in _SHARED]
    if shared[0] is None or shared[1] is None:
        raise stored.refused(["vera_A and vera_B are not in it; save it again with save_projection=True"])
    rest = {name: value for name, value in stored.tensors.items() if ".vera_lambda_" in name}
    own = Stored(stored.where, stored.config, rest).parts("vera_lambda_b", "vera_lambda_d")
    all_a, all_b = shared[0], shared[1]
    factors = {}
    for module, parts in own.items():
        b, d = need(stored, module, parts, "vera_lambda_b", "vera_lambda_d")
        if module not in places:
            raise stored.refused([f"the width of {module} is not known; name its base with --base"])
        out_features, in_features = places[module]
        if b.shape != (out_features,) or d.shape != all_a.shape[:1] or all_a.shape[1] < in_features:
            raise stored.refused([f"{module} has vectors {b.shape} and {d.shape} for {out_features} rows"])
        factors[module] = Factors(all_a[:, :in_features], b[:, None] * all_b[:out_features] * d, 1.0)
    return Plain(factors, ("VeRA as the LoRA that it is, exactly",))
