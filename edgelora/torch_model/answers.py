"""Asks the torch model of an encoder what an adapter does: its numbers for the built-in texts, with and without it.

torch model, Adapter, ProbePrompt -> Answer

As in ``probe``, the factors and the head are those that were read back from the adapter folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from edgelora.data.probes import ProbePrompt
from edgelora.errors import AdapterError
from edgelora.torch_model.heads import first_head, head_parameters
from edgelora.torch_model.probe import adding
from edgelora.torch_model.task_model import answer
from edgelora.values import Checkpoint
from edgelora_runtime.adapter import Adapter
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.receipt import Answer


def answer_adapter(
    model: Any, checkpoint: Checkpoint, adapter: Adapter, prompts: Sequence[ProbePrompt]
) -> tuple[Answer, ...]:
    """Run every text through the model with the adapter, and with its head alone.

    ``model`` is the transformers model, PEFT's layers in it or not; their own factors are switched off, and its head
    becomes the adapter's. Where neither the adapter nor the base has one, there is nothing to answer.
    Raises AdapterError for a module that the model does not have, and for a head that is not whole or was never
    trained.
    """
    if not adapter.head and any(name not in checkpoint.head_names() for name in head_parameters(model)):
        return ()
    _set_head(model, checkpoint, adapter)
    with torch.no_grad(), _without_factors(model):
        base = [_answer(model, checkpoint, prompt) for prompt in prompts]
        with adding(model, adapter.factors):
            adapted = [_answer(model, checkpoint, prompt) for prompt in prompts]
    return tuple(
        Answer(prompt.input_ids, with_adapter, without, prompt.text)
        for prompt, with_adapter, without in zip(prompts, adapted, base, strict=True)
    )


def _answer(model: Any, checkpoint: Checkpoint, prompt: ProbePrompt) -> tuple[float, ...]:
    device = next(model.parameters()).device
    ids = torch.tensor([list(prompt.input_ids)], device=device)
    output = answer(model, checkpoint.task, ids, torch.ones_like(ids))
    return tuple(float(f"{number:.8g}") for number in output.float().cpu().flatten().tolist())


def _set_head(model: Any, checkpoint: Checkpoint, adapter: Adapter) -> None:
    places, first = head_parameters(model), first_head(model)
    if strange := [name for name in adapter.head if name not in places]:
        raise AdapterError(f"the model's head has no {join_some(strange, ', ')}; use an adapter trained for this base")
    if lost := sorted(set(places) - set(adapter.head) - set(checkpoint.head_names())):
        raise AdapterError(f"neither the adapter nor its base has {join_some(lost, ', ')} of the head; train it again")
    wrong = [
        f"{name} is {value.shape}, expected {tuple(places[name].shape)}"
        for name, value in adapter.head.items()
        if tuple(places[name].shape) != value.shape
    ]
    if wrong:
        raise AdapterError(f"the adapter's head does not fit: {join_some(wrong)}; use one trained for this base")
    given = {name: torch.tensor(value) for name, value in adapter.head.items()}
    if given and all(torch.equal(value, first[name].detach().cpu()) for name, value in given.items()):
        raise AdapterError("the adapter's head is as it was before training: its answers mean nothing; train it")
    with torch.no_grad():
        for name, value in given.items():
            places[name].copy_(value)


@contextlib.contextmanager
def _without_factors(model: Any) -> Iterator[None]:
    """Switch off PEFT's factors and leave the head; ``disable_adapter`` would bring back the head before training."""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
