"""Asks PyTorch what the shipped values answer, so that a compiled graph can be held to it.

Grid, prompts -> Reference

An adapter that was merged is part of the grid that the caller hands in.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from edgelora.grid.make import Grid, GridSpec
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.merged import load_merged
from edgelora.torch_model.packed import PackedMatrix
from edgelora.values import HalfArray, Reference
from edgelora_runtime.adapter import Factors


def make_reference(
    grid: Grid,
    prompts: Sequence[Sequence[int]],
    new_tokens: int = 32,
    baked: Mapping[str, Factors] | None = None,
) -> Reference:
    """Logits after each prompt, and up to ``new_tokens`` greedy tokens; the token that ends an answer is the last.

    Every prompt is a non-empty sequence of token ids. ``baked`` are factors by module name that are constants of the
    graph. Weights with codes stay codes, unless factors have to be added to them: the float model is never whole.
    Raises CheckpointError when the model cannot be built.
    """
    model = load_merged(grid, baked) if baked else load_torch(grid.checkpoint, grid, low_memory=bool(grid.matrices))
    for module in model.modules():
        if isinstance(module, PackedMatrix):
            module.unpack()
    with one_thread():
        logits, greedy = _answer_all(model, prompts, grid.checkpoint.eos_token_ids, new_tokens)
    return Reference(
        prompts=tuple(tuple(prompt) for prompt in prompts),
        last_logits=tuple(row.numpy() for row in logits),
        greedy=tuple(tuple(tokens) for tokens in greedy),
    )


def answer_float(
    grid: Grid, rows: Sequence[Sequence[int]], baked: Mapping[str, Factors] | None = None
) -> Sequence[HalfArray]:
    """Log-probabilities (len(row), vocab_size) of the weights that ``grid`` was made from, and ``baked`` beside them.

    Kept as float16: renormalized, it is off by less than a thousandth where a probability counts.
    """
    unrounded = dataclasses.replace(grid, plan=GridSpec("none", None), matrices={})
    model = load_merged(unrounded, baked) if baked else load_torch(grid.checkpoint, None)
    with torch.inference_mode():
        return [
            torch.log_softmax(model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float(), -1)
            .half()
            .numpy()
            for ids in rows
        ]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Rows of a few tokens keep no second thread busy; it would wait, at full load, after each of many small steps."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _answer_all(
    model: Any, prompts: Sequence[Sequence[int]], eos_ids: Sequence[int], new_tokens: int
) -> tuple[torch.Tensor, list[list[int]]]:
    """Logits (n_prompts, vocab_size) after the prompts, and their greedy continuations over one KV cache.

    All prompts are one batch, padded on the left, so that every weight is dequantized once for a step of them all.
    """
    longest = max(map(len, prompts))
    padded = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    greedy: list[list[int]] = [[] for _ in prompts]
    with torch.inference_mode():
        ids, positions, cache = padded, (mask.cumsum(1) - 1).clamp(min=0), None
        first = None
        while True:
            output = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            last = output.logits[:, -1].float()  # (n_prompts, vocab_size)
            first = last if first is None else first
            ids = last.argmax(dim=1, keepdim=True)
            for tokens, chosen in zip(greedy, ids[:, 0].tolist(), strict=True):
                if len(tokens) < new_tokens and not (tokens and tokens[-1] in eos_ids):
                    tokens.append(chosen)
            if all(len(tokens) == new_tokens or tokens[-1] in eos_ids for tokens in greedy):
                return first, greedy
            cache, positions = output.past_key_values, positions[:, -1:] + 1
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
