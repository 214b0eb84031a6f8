"""Asks PyTorch what the shipped values answer, so that a compiled graph can be held to it.

Knows nothing about graphs; a merged adapter is part of the grid that the caller hands in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from edgelora.grid import Grid
from edgelora.training.adapted import load_adapted
from edgelora.types import FloatArray, Reference
from edgelora_runtime.adapter import Factors


def make_reference(
    grid: Grid,
    prompts: Sequence[Sequence[int]],
    new_tokens: int = 32,
    baked: Mapping[str, Factors] | None = None,
) -> Reference:
    """Logits after each prompt, and up to ``new_tokens`` greedy tokens; the token that ends an answer is the last.

    Every prompt is a non-empty sequence of token ids. ``baked`` are factors by module name that are constants of the
    graph. Raises CheckpointError when the model cannot be built.
    """
    model = load_adapted(grid, baked or {})
    answers = [_answer(model, prompt, grid.checkpoint.eos_token_ids, new_tokens) for prompt in prompts]
    return Reference(
        prompts=tuple(tuple(prompt) for prompt in prompts),
        last_logits=tuple(logits for logits, _ in answers),
        greedy=tuple(tokens for _, tokens in answers),
    )


def _answer(
    model: Any, prompt: Sequence[int], eos_ids: Sequence[int], new_tokens: int
) -> tuple[FloatArray, tuple[int, ...]]:
    """Logits (vocab_size,) after the prompt, and the greedy continuation over a KV cache."""
    tokens: list[int] = []
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([list(prompt)]), use_cache=True)
        last = output.logits[0, -1].float()
        first: FloatArray = last.numpy().astype(np.float32)
        while len(tokens) < new_tokens:
            tokens.append(int(last.argmax()))
            if tokens[-1] in eos_ids or len(tokens) == new_tokens:
                break
            output = model(
                input_ids=torch.tensor([tokens[-1:]]), past_key_values=output.past_key_values, use_cache=True
            )
            last = output.logits[0, -1].float()
    return first, tuple(tokens)
