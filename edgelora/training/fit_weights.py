"""Finds the weights of a merge on a few rows: one number for each adapter in each layer, by gradient steps.

Grid, Source of each parent, rows -> Fitted

The sum that is fitted is exact; what cuts it afterwards is not looked at.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edgelora.adapter.lineage import Source, check_base
from edgelora.adapter.merge_options import FitOptions
from edgelora.adapter.receipt import begin_receipt
from edgelora.checkpoint.context_length import own_context_length
from edgelora.checkpoint.tokenizer import UNDATED, open_tokenizer
from edgelora.data.encode import Example, encode_rows
from edgelora.data.rows import Rows, read_rows
from edgelora.errors import AdapterError, ConfigError
from edgelora.evaluation.score import rendering_of
from edgelora.grid.make import Grid
from edgelora.progress import Progress
from edgelora.torch_model.build import load_torch
from edgelora.training.batches import sorted_batches
from edgelora.training.loss import completion_loss
from edgelora.training.run import hash_examples
from edgelora_runtime.rendering import parse_date

_BATCH = 8
_MAX_LENGTH = 1024  # tokens; longer rows are left out
_LEARNING_RATE = 0.05  # of a weight, which is about 1
_DIGITS = 6
_LAYER = re.compile(r"(^|\.)(layers?|h)\.(?P<layer>\d+)\.")


@dataclass(frozen=True)
class Fitted:
    """Weights of each parent by layer and by module, and what they gained; losses in nats per learned token."""

    layers: tuple[Mapping[str, float], ...]
    modules: tuple[Mapping[str, float], ...]
    rows: int
    steps: int
    loss_before: float
    loss_after: float
    data_sha256: str

    def record(self) -> dict[str, Any]:
        """What a receipt says of it, the weights aside."""
        fields = ("rows", "steps", "loss_before", "loss_after", "data_sha256")
        return {name: getattr(self, name) for name in fields}


def fit_weights(
    grid: Grid, sources: Sequence[Source], weights: Sequence[float], options: FitOptions, progress: Progress
) -> Fitted:
    """Start from ``weights`` and go down the loss of the rows' completions; the best weights that were met are kept.

    Raises AdapterError for adapters of another base or grid, ConfigError for a base that writes no text, and DataError
    for rows that cannot be used.
    """
    checkpoint = grid.checkpoint
    if not checkpoint.task.generates:
        raise ConfigError(f"--fit learns completions, and {checkpoint.name} writes no text; leave --fit out")
    ours = begin_receipt(grid)
    for source in sources:
        check_base(source, ours)
    examples = _read_examples(grid, sources, options)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_torch(checkpoint, grid).to(device).requires_grad_(False)
    names = sorted({_layer(module) for source in sources for module in source.adapter.factors}, key=_order)
    found = torch.tensor([[weight] * len(names) for weight in weights], device=device, requires_grad=True)
    best, losses = found.detach().clone(), []
    optimizer = torch.optim.Adam([found], lr=_LEARNING_RATE)
    with _adding(model, sources, names, found), progress.counting("fit", options.steps + 1, "step") as step:
        for _ in range(options.steps + 1):
            optimizer.zero_grad()
            losses.append(_descend(model, examples, device))
            if losses[-1] == min(losses):
                best = found.detach().clone()
            optimizer.step()
            step(1)
    layers = tuple(
        {name: float(f"{value:.{_DIGITS}g}") for name, value in zip(names, row, strict=True)} for row in best.tolist()
    )
    modules = tuple(
        {module: row[_layer(module)] for module in source.adapter.factors}
        for source, row in zip(sources, layers, strict=True)
    )
    return Fitted(layers, modules, len(examples), options.steps, losses[0], min(losses), hash_examples(examples))


def _read_examples(grid: Grid, sources: Sequence[Source], options: FitOptions) -> Sequence[Example]:
    """The first rows of the file, rendered as the adapters saw theirs."""
    how = rendering_of(next((source.receipt for source in sources if source.receipt is not None), None))
    tokenizer = open_tokenizer(grid.checkpoint, how.variables, parse_date(how.date) or UNDATED)
    rows = Rows(read_rows(options.rows).rows[: options.limit], ())
    base, where = grid.checkpoint, str(options.rows)
    holds = own_context_length(base)
    return encode_rows(rows, tokenizer, base.eos_token_ids, _MAX_LENGTH, how.raw, where, context=holds).examples


def _descend(model: Any, examples: Sequence[Example], device: torch.device) -> float:
    """The mean loss over all rows, its gradient left in the weights."""
    learned, total = sum(example.learned for example in examples), 0.0
    for batch in sorted_batches([example.tokens for example in examples], _BATCH):
        loss = completion_loss(model, [examples[index] for index in batch], device) / learned
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


@contextlib.contextmanager
def _adding(model: Any, sources: Sequence[Source], names: Sequence[str], weights: torch.Tensor) -> Iterator[None]:
    """Add every delta, times the weight (n_sources, n_layers) of its adapter and layer, while the block runs."""
    modules = dict(model.named_modules())
    adapted = {module: None for source in sources for module in source.adapter.factors}
    if missing := [module for module in adapted if module not in modules]:
        raise AdapterError(f"the base has no module {', '.join(missing[:4])}; use adapters trained for it")
    handles = []
    for module in adapted:
        parts = []
        for index, source in enumerate(sources):
            if (item := source.adapter.factors.get(module)) is not None:
                a, b = (torch.tensor(value, device=weights.device) for value in (item.a, item.scaling * item.b))
                parts.append((index, a, b))
        handles.append(modules[module].register_forward_hook(_hook(parts, weights, names.index(_layer(module)))))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(
    parts: Sequence[tuple[int, torch.Tensor, torch.Tensor]], weights: torch.Tensor, layer: int
) -> Callable[[Any, tuple[Any, ...], Any], Any]:
    def add(_module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        for index, a, b in parts:
            delta = torch.nn.functional.linear(torch.nn.functional.linear(inputs[0], a), b)
            output = output + weights[index, layer] * delta
        return output

    return add


def _layer(module: str) -> str:
    """The number of its layer; a module that is in none has a weight of its own."""
    match = _LAYER.search(module)
    return module if match is None else match["layer"]


def _order(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (-1, name)
