"""Cases of the conformance suite that need no artifact: the generator of random numbers, and how a token is drawn.

options of sampling -> cases
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgelora_runtime.sampling import Pcg32, Sampler, SamplingOptions

SAMPLING: tuple[dict[str, Any], ...] = (
    {"temperature": 1.0, "seed": 1},
    {"temperature": 0.7, "top_k": 20, "seed": 2},
    {"temperature": 1.3, "top_p": 0.8, "seed": 3},
    {"temperature": 2.0, "min_p": 0.05, "seed": 2**53 - 5},
    {"temperature": 0.9, "top_k": 50, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.3, "seed": 0},
    {"temperature": 0.0, "repetition_penalty": 1.5},
)


def arithmetic_cases() -> Iterator[dict[str, Any]]:
    """The first numbers of seeds, and tokens that are drawn from made-up logits with ties."""
    for seed, stream in ((42, 54), (0, 54), (2**53 - 1, 55)):
        generator = Pcg32(seed, stream)
        numbers = [generator.next_uint32() for _ in range(8)]
        yield {"kind": "pcg32", "name": f"pcg32 seed {seed}", "seed": seed, "stream": stream, "expected": numbers}
    rng = np.random.default_rng(0)
    for index, options in enumerate(SAMPLING):
        logits = np.round(rng.standard_normal((6, 90)) * 3, 2).astype(np.float32)
        logits[:, 40] = logits[:, 7]  # a tie in every step
        prompt = [7, 3, 3]
        sampler = Sampler(SamplingOptions(**options), prompt, row=index % 2)
        yield {
            "kind": "sampler", "name": f"sampler {options}", "sampling": options, "row": index % 2,
            "prompt_ids": prompt,
            "logits": [[round(float(item), 2) for item in row] for row in logits],
            "expected": [sampler.choose(row) for row in logits],
        }  # fmt: skip
