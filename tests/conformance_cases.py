"""Cases of runtime/conformance that run a graph: what each kind is made of, and that no answer hangs on rounding.

Knows nothing about which artifacts there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgelora_runtime.adapter import parse_spec
from edgelora_runtime.manifest import FLOAT_CACHE, INT8_CACHE
from edgelora_runtime.model import Model
from edgelora_runtime.sampling import Sampler, SamplingOptions
from tests.conformance_models import CONTEXT, TorchAnswer

TOLERANCE = {FLOAT_CACHE: 2e-3, INT8_CACHE: 0.1}  # of a logit, by what the cache holds

# Tokens must survive this much noise on the logits, or another machine could answer otherwise. In a cache of 8 bits a
# key at the edge of a step may fall to either side.
NOISE = {FLOAT_CACHE: 1e-3, INT8_CACHE: 5e-2}


class NearTieError(Exception):
    """A case whose answer hangs on rounding; the builder tries the next prompt."""


def logits_case(model: Model, torch_answer: TorchAnswer, ids: list[int], spec: str) -> dict[str, Any]:
    found = model.logits(ids, adapter=spec)
    blend = dict(parse_spec(spec))
    if model.invocation(spec):
        expected = torch_answer.activated(ids, *next(iter(blend.items())))
    else:
        expected = torch_answer.logits(ids, blend)
    off = float(np.abs(found - expected).max())
    assert off < torch_answer.noise, f"{spec}: {off} away from PyTorch"
    positions = sorted({0, len(ids) // 2, len(ids) - 1})
    columns = [0, 1, 17, 100, 383]
    values = [[round(float(found[row, column]), 5) for column in columns] for row in positions]
    return {
        "kind": "logits", "name": f"logits {spec}", "adapter": spec, "input_ids": ids, "positions": positions,
        "columns": columns, "expected": values, "expected_argmax": [int(found[row].argmax()) for row in positions],
        "tolerance": TOLERANCE[model.manifest.graph.kv_cache],
    }  # fmt: skip


def tokens_case(model: Model, ids: list[int], spec: str, options: dict[str, Any], count: int) -> dict[str, Any]:
    found = model.generate_ids(ids, adapter=spec, max_new_tokens=count, **options)
    refuse_near_ties(model, ids, found, spec, options, row=0, count=count)
    what = f"sampled {options}" if options else "greedy"
    return {
        "kind": "tokens", "name": f"{what} {spec} after {len(ids)}", "adapter": spec, "input_ids": ids,
        "sampling": options, "max_new_tokens": count, "expected_ids": found,
    }  # fmt: skip


def batch_case(
    model: Model,
    adapters: list[str],
    seed: int,
    options: dict[str, Any],
    lengths: Sequence[int] = (9, 1, 30),
    count: int = 10,
) -> dict[str, Any]:
    rows = [random_ids(10 * seed + index, length) for index, length in enumerate(lengths)]
    found = model.generate_ids(rows, adapter=adapters, max_new_tokens=count, **options)
    for row, (ids, answer, spec) in enumerate(zip(rows, found, adapters, strict=True)):
        refuse_near_ties(model, ids, answer, spec, options, row, count)
        if max(lengths) == CONTEXT and len(answer) != min(count, CONTEXT + 1 - len(ids)):
            raise NearTieError  # all of them go on as long as there is room
    what = f"{adapters} {options}" if count == 10 else f"{adapters} of {list(lengths)} tokens"
    return {
        "kind": "batch", "name": f"batch {what}", "adapters": adapters, "input_ids": rows,
        "sampling": options, "max_new_tokens": count, "expected_ids": found,
    }  # fmt: skip


def refuse_near_ties(
    model: Model, ids: list[int], found: list[int], spec: str, options: dict[str, Any], row: int, count: int
) -> None:
    """Choose the same tokens again from logits with noise; the end token must come where it came."""
    ends = set(model.manifest.model.eos_token_ids)
    whole = [*ids, *found]
    logits = model.logits(whole[:CONTEXT], adapter=spec)[len(ids) - 1 :]
    noise = NOISE[model.manifest.graph.kv_cache]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sampler = Sampler(SamplingOptions(**options), ids, row)
        for step, clean in enumerate(logits[:count]):
            noisy = clean + rng.uniform(-noise, noise, clean.shape).astype(np.float32)
            token = sampler.choose(noisy)
            if (token != found[step]) if step < len(found) else (token not in ends):
                raise NearTieError


def first_clear(build: Callable[[int], dict[str, Any]], attempts: int = 400) -> dict[str, Any]:
    """The first case of a family that does not hang on rounding."""
    for attempt in range(attempts):
        try:
            return build(attempt)
        except NearTieError:
            continue
    raise AssertionError("no prompt gives an answer that is safe from rounding")


def random_ids(seed: int, length: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(6, 384, length)]
