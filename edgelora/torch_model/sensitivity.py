"""Asks the float model how much its answers change when some of its weights are rounded.

Knows nothing about bits or budgets: it is handed values and answers with a divergence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from edgelora.errors import DataError
from edgelora.grid.bits import MeasureChange
from edgelora.torch_model.build import load_torch, tensor_sources
from edgelora.values import Checkpoint, FloatArray

_SEQUENCES = 2
_POSITIONS = 48  # the last of each sequence, where the answer stands


def open_sensitivity(checkpoint: Checkpoint, sequences: Sequence[Sequence[int]]) -> MeasureChange:
    """A function from tensor values to the mean KL divergence, in nats a token, that they cause.

    It compares the float model with the same model in which the named tensors hold the given values, on the last
    tokens of up to 2 of ``sequences``, spread evenly. Holds the float model as long as the function lives. Raises
    DataError without a sequence.
    """
    if not sequences:
        raise DataError("there is no text to measure sensitivity on; give at least one row")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_torch(checkpoint, None).to(device)
    count = min(_SEQUENCES, len(sequences))
    prompts = [
        torch.tensor([list(sequences[index * len(sequences) // count])], device=device) for index in range(count)
    ]
    parameters = dict(model.named_parameters())
    places = {
        source: parameters[name] for name, source in tensor_sources(checkpoint, model).items() if name in parameters
    }
    reference = [_answer(model, prompt) for prompt in prompts]

    def measure(values: Mapping[str, FloatArray]) -> float:
        total = tokens = 0.0
        with _in_place(places, values):
            for prompt, before in zip(prompts, reference, strict=True):
                after = _answer(model, prompt)
                total += float((before.exp() * (before - after)).sum())
                tokens += before.shape[0]
        return max(0.0, total / tokens)

    return measure


def _answer(model: Any, prompt: torch.Tensor) -> torch.Tensor:
    """Log-probabilities after the last tokens of a prompt: (positions, vocab_size)."""
    with torch.inference_mode():
        logits = model(input_ids=prompt, use_cache=False, logits_to_keep=_POSITIONS).logits[0]
        return torch.log_softmax(logits.float(), dim=-1)


@contextmanager
def _in_place(places: Mapping[str, torch.nn.Parameter], values: Mapping[str, FloatArray]) -> Iterator[None]:
    """Put ``values`` into the model as long as the context lasts."""
    kept = {name: places[name].detach().clone() for name in values if name in places}
    try:
        with torch.no_grad():
            for name in kept:
                places[name].copy_(torch.from_numpy(values[name]))
        yield
    finally:
        with torch.no_grad():
            for name, value in kept.items():
                places[name].copy_(value)
