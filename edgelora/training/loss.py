"""Computes the loss over completions at the least cost that leaves its value untouched.

torch model, Example -> loss

Two things make a step cheap. The head, which is a quarter of a small model, sees only the positions that are
learned. And what all rows of a batch open with (a system prompt, mostly) runs through the decoder once: rows share
its keys and values, and its gradient is the sum over the rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from edgelora.data.encode import Example
from edgelora.torch_model.activated import Activation

# The loss of a batch: the sum over all that is learned, of completions ids[prompt_length:] of each example.
Loss = Callable[[Sequence[Any]], torch.Tensor]

_SHORTEST_PREFIX = 4  # tokens; below that a second pass through the decoder costs more than it saves


def completion_loss(
    model: Any, examples: Sequence[Example], device: torch.device, activation: Activation | None = None
) -> torch.Tensor:
    """Sum of the cross entropy (nats) over every completion token of the batch.

    ``activation`` is of an activated adapter, which acts from the ``start`` of each example on.
    """
    shared = common_prefix(examples) if len(examples) > 1 else 0
    if activation is not None:  # what comes before it is the base's, and learns nothing
        shared = min(shared, *(example.start for example in examples))
    if shared < _SHORTEST_PREFIX:
        shared = 0
    ids, learned = pad_examples(examples, device)
    targets = ids[learned]
    predicting = learned[:, shared + 1 :]  # position t predicts t + 1; the last position predicts nothing
    tail = ids[:, shared:-1]
    if activation is not None:
        activation.begin([example.start - shared for example in examples], tail.shape[1])
    if shared == 0:
        logits = logits_at(model, predicting, input_ids=tail, use_cache=False)
    else:
        cache = DynamicCache()
        with contextlib.nullcontext() if activation is None else activation.base():
            model.base_model(input_ids=ids[:1, :shared], past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(examples))
        logits = logits_at(model, predicting, input_ids=tail, past_key_values=cache, use_cache=True)
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


def pad_examples(examples: Sequence[Example], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids, and which of them are learned: both (n_examples, longest).

    Padding stands on the right, where causal attention keeps it from every token that counts: no mask is needed.
    """
    longest = max(len(example.ids) for example in examples)
    ids = torch.zeros((len(examples), longest), dtype=torch.long)
    learned = torch.zeros((len(examples), longest), dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        learned[row, example.prompt_length : len(example.ids)] = True
    return ids.to(device), learned.to(device)


def common_prefix(examples: Sequence[Example]) -> int:
    """Tokens that every prompt of the batch opens with, short of the last, which predicts the first of an answer."""
    limit = min(example.prompt_length for example in examples) - 1
    first = examples[0].ids
    for index in range(limit):
        if any(example.ids[index] != first[index] for example in examples):
            return index
    return limit


def logits_at(model: Any, chosen: torch.Tensor, **inputs: Any) -> torch.Tensor:
    """Logits (n_chosen, vocab_size) of the positions that ``chosen`` (batch, sequence) marks.

    The hidden states are selected at the door of the head, so scaling and softcapping after it stay the model's own.
    """

    def select(_head: torch.nn.Module, hidden: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (hidden[0][chosen].unsqueeze(0),)

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        logits: torch.Tensor = model(**inputs).logits
    finally:
        handle.remove()
    return logits[0]
