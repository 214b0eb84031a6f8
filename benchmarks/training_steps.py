"""``python -m benchmarks.training_steps MODE MODEL DATA.jsonl``: a few training steps in one mode, as one JSON object.

Knows nothing about the other modes; ``training_memory`` runs each in a process of its own and compares them.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from edgelora.checkpoint.context_length import own_context_length
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.encode import Example, encode_rows
from edgelora.data.rows import read_rows
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.packed import weigh
from edgelora.torch_model.recompute import recompute_layers
from edgelora.training.lora import attach_lora, trainable
from edgelora.training.loss import completion_loss
from edgelora.training.recipe import Recipe

PLAIN, DEFAULT, PACKED, LOW_MEMORY = "plain", "default", "packed", "low-memory"
STEPS, ROWS = 3, 4
CPU = torch.device("cpu")


def main() -> None:
    """Print losses, weights and seconds; the peak memory is what the process took, which its parent sees."""
    mode, name, data = sys.argv[1:]
    checkpoint = open_checkpoint(name)
    options = Recipe(batch_size=ROWS)
    encoded = encode_rows(
        read_rows(Path(data)),
        open_tokenizer(checkpoint),
        checkpoint.eos_token_ids,
        options.max_length,
        raw=False,
        where=data,
        context=own_context_length(checkpoint),
    )
    examples = encoded.examples[: STEPS * ROWS]
    grid = None if mode == PLAIN else plan_grid(checkpoint, parse_quant("int4"))
    model = load_torch(checkpoint, grid, low_memory=mode in (PACKED, LOW_MEMORY))
    size = weigh(model)
    attach_lora(model, options, checkpoint.name)
    if mode == LOW_MEMORY:
        recompute_layers(model)
    loss = functools.partial(plain_loss if mode == PLAIN else shared_loss, model)
    optimizer = torch.optim.AdamW(trainable(model), lr=options.learning_rate, weight_decay=0.0)
    losses, seconds, cpu_seconds = [], [], []
    for step in range(STEPS):
        began, worked = time.perf_counter(), time.process_time()
        losses.append(take_step(loss, examples[step * ROWS : (step + 1) * ROWS], optimizer))
        seconds.append(time.perf_counter() - began)
        cpu_seconds.append(time.process_time() - worked)
    print(
        json.dumps(
            {
                "losses": losses,
                "weights": size.weights,
                "weight_bytes": size.held_bytes,
                "weight_ratio": size.ratio,
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
            }
        )
    )


def take_step(
    loss: Callable[[Sequence[Example]], torch.Tensor], batch: Sequence[Example], optimizer: torch.optim.Optimizer
) -> float:
    """One optimizer step; returns the mean loss in nats per completion token."""
    optimizer.zero_grad(set_to_none=True)
    value = loss(batch)
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(value.detach())


def shared_loss(model: Any, batch: Sequence[Example]) -> torch.Tensor:
    """The mean loss as ``edgelora train`` computes it."""
    learned = sum(len(example.ids) - example.prompt_length for example in batch)
    return completion_loss(model, batch, CPU) / learned


def plain_loss(model: Any, batch: Sequence[Example]) -> torch.Tensor:
    """The mean loss as a script with transformers and PEFT computes it: padded rows, a mask, labels of -100."""
    longest = max(len(example.ids) for example in batch)
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, example in enumerate(batch):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        mask[row, :length] = 1
        labels[row, example.prompt_length : length] = ids[row, example.prompt_length : length]
    loss: torch.Tensor = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
    return loss


if __name__ == "__main__":
    main()
