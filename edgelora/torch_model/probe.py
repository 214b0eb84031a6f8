"""Asks the torch model what an adapter does: answers of base and adapted model to the built-in prompts.

torch model, Adapter, ProbePrompt -> Probe

It adds the factors as they were read back from the adapter folder, so what is recorded is what ships.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from edgelora.data.probes import ProbePrompt
from edgelora.errors import AdapterError
from edgelora_runtime.adapter import Adapter, Factors
from edgelora_runtime.invocation import find_last
from edgelora_runtime.receipt import Probe, TopTokens

_TOP = 64  # recorded tokens of each distribution
_GREEDY = 8  # recorded tokens of each answer


def probe_adapter(
    model: Any, wrapped: Any | None, adapter: Adapter, prompts: Sequence[ProbePrompt], eos_ids: Collection[int]
) -> tuple[Probe, ...]:
    """Run every prompt through the base and through the base with the adapter.

    ``model`` is the transformers model; ``wrapped`` the PEFT model around it where there is one, whose own factors are
    then switched off. A prompt without the invocation of an activated adapter gets it at its end.
    Raises AdapterError for a module that the model does not have.
    """
    prompts = [_called(prompt, adapter.invocation) for prompt in prompts]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), contextlib.nullcontext() if wrapped is None else wrapped.disable_adapter():
            base = [_answer(model, prompt.input_ids, eos_ids) for prompt in prompts]
            adapted = []
            for prompt in prompts:
                start = find_last(prompt.input_ids, adapter.invocation) if adapter.invocation else 0
                with adding(model, adapter.factors, start or 0):
                    adapted.append(_answer(model, prompt.input_ids, eos_ids))
    finally:
        model.train(was_training)
    return tuple(_record(*item) for item in zip(prompts, base, adapted, strict=True))


def _called(prompt: ProbePrompt, invocation: tuple[int, ...]) -> ProbePrompt:
    if not invocation or find_last(prompt.input_ids, invocation) is not None:
        return prompt
    return dataclasses.replace(prompt, input_ids=(*prompt.input_ids, *invocation))


def _record(
    prompt: ProbePrompt, base: tuple[torch.Tensor, list[int]], adapted: tuple[torch.Tensor, list[int]]
) -> Probe:
    kl = float((base[0].exp() * (base[0] - adapted[0])).sum())
    return Probe(
        text=prompt.text,
        input_ids=prompt.input_ids,
        greedy=tuple(adapted[1]),
        base_greedy=tuple(base[1]),
        kl=float(f"{max(0.0, kl):.6g}"),
        adapted=_top(adapted[0]),
        base=_top(base[0]),
    )


def _top(logprobs: torch.Tensor) -> TopTokens:
    values, ids = logprobs.topk(min(_TOP, logprobs.numel()))
    return TopTokens(tuple(ids.tolist()), tuple(round(value, 5) for value in values.tolist()))


def _answer(model: Any, prompt: Sequence[int], eos_ids: Collection[int]) -> tuple[torch.Tensor, list[int]]:
    """Log-probabilities (vocab_size,) in float64 after the prompt, and the first greedy tokens over a KV cache."""
    device = next(model.parameters()).device
    output = model(input_ids=torch.tensor([list(prompt)], device=device), use_cache=True)
    last = output.logits[0, -1]
    first = torch.log_softmax(last.to("cpu", torch.float64), dim=-1)
    tokens: list[int] = []
    while len(tokens) < _GREEDY:
        tokens.append(int(last.argmax()))
        if tokens[-1] in eos_ids or len(tokens) == _GREEDY:
            break
        step = torch.tensor([tokens[-1:]], device=device)
        output = model(input_ids=step, past_key_values=output.past_key_values, use_cache=True)
        last = output.logits[0, -1]
    return first, tokens


@contextlib.contextmanager
def adding(model: Any, factors: Mapping[str, Factors], start: int = 0) -> Iterator[None]:
    """Add every delta to the output of its module while the block runs, in the first pass from index ``start`` on."""
    modules = dict(model.named_modules())
    missing = [name for name in factors if name not in modules]
    if missing:
        raise AdapterError(f"the model has no module {', '.join(missing[:4])}; use an adapter trained for this base")
    hooks = [modules[name].register_forward_hook(_hook(item, start)) for name, item in factors.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(item: Factors, start: int) -> Callable[[Any, tuple[Any, ...], Any], Any]:
    a = torch.tensor(item.a)  # (rank, in_features)
    b = item.scaling * torch.tensor(item.b)  # (out_features, rank)

    n_before = start

    def add(_module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        nonlocal n_before
        inner = torch.nn.functional.linear(inputs[0].float(), a.to(inputs[0].device))
        if n_before:
            inner[:, :n_before] = 0
            n_before = 0  # later passes go on behind it
        return output + torch.nn.functional.linear(inner, b.to(inner.device)).to(output.dtype)

    return add
