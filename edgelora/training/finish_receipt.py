"""Completes the receipt of an adapter folder with what only a model can tell, and writes its readable page.

PEFT folder, Grid, torch model -> Receipt

The adapter may come from elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelora.adapter.make_plain import find_loss
from edgelora.adapter.page import write_page
from edgelora.adapter.receipt import begin_receipt, complete_receipt
from edgelora.checkpoint.placing import head_modules
from edgelora.checkpoint.task import with_head
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.probes import find_probes
from edgelora.errors import AdapterError
from edgelora.grid.make import Grid
from edgelora.torch_model.answers import answer_adapter
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.probe import probe_adapter
from edgelora.values import Checkpoint
from edgelora_runtime.adapter import Adapter, read_adapter
from edgelora_runtime.manifest import (
    HeadInfo,
)
from edgelora_runtime.receipt import Receipt, read_receipt, write_receipt


def finish_receipt(folder: Path, receipt: Receipt, grid: Grid, model: Any, wrapped: Any | None = None) -> Receipt:
    """Measure the adapter in ``folder``, write ``receipt.json`` and ``receipt.md`` beside it, and return the receipt.

    ``model`` is that of ``grid``; ``wrapped`` the PEFT model around it, where there is one.
    """
    checkpoint = grid.checkpoint
    prompts = find_probes(checkpoint)
    if checkpoint.task.generates:
        adapter = read_adapter(folder)
        probes = probe_adapter(model, wrapped, adapter, prompts, checkpoint.eos_token_ids)
        measured = complete_receipt(receipt, folder, adapter, grid, probes)
    else:
        adapter = read_adapter(folder, with_head=True)
        answers = answer_adapter(model, checkpoint, adapter, prompts)
        measured = complete_receipt(receipt, folder, adapter, grid, answers=answers)
    write_receipt(folder, measured)
    write_page(folder, measured, None if checkpoint.tokenizer is None else open_tokenizer(checkpoint).decode)
    return measured


def make_receipt(checkpoint: Checkpoint, folder: Path, make_grid: Callable[[Checkpoint], Grid]) -> Receipt:
    """Give an adapter that was trained on ``checkpoint`` a receipt, or measure its old one anew.

    Raises AdapterError when the old receipt names another base or another grid than ``make_grid`` gives.
    """
    adapter = read_adapter(folder, with_head=not checkpoint.task.generates)  # unreadable, told before the base is read
    old = read_receipt(folder)
    if adapter.head:
        checkpoint = _with_its_head(checkpoint, adapter, old)
    grid = make_grid(checkpoint)
    fresh = begin_receipt(grid)
    if old is not None:
        if old.fingerprint != fresh.fingerprint:
            raise AdapterError(
                f"{folder} was trained on {old.name} ({old.fingerprint[:12]}), {checkpoint.name} is "
                f"{fresh.fingerprint[:12]}; give the base it was trained on"
            )
        if old.grid != fresh.grid:
            found, given = old.grid and old.grid[:12], fresh.grid and fresh.grid[:12]
            raise AdapterError(
                f"{folder} was trained on {found or 'the float weights'} of {old.name}, the options give "
                f"{given or 'the float weights'}; use the --quant and --block-size of its training"
            )
        kept = {field: getattr(old, field) for field in ("training", "truncation", "parents", "conversion")}
        fresh = dataclasses.replace(fresh, **kept)
    fresh = dataclasses.replace(fresh, head=checkpoint.task.head, conversion=find_loss(folder) or fresh.conversion)
    return finish_receipt(folder, fresh, grid, load_torch(checkpoint, grid))


def _with_its_head(checkpoint: Checkpoint, adapter: Adapter, old: Receipt | None) -> Checkpoint:
    """The base with a head for the adapter's labels: those of its receipt, else numbered ones."""
    modules = head_modules(checkpoint.config["model_type"], checkpoint.task.name)
    name = f"{modules[-1]}.weight" if modules else ""
    if name not in adapter.head:
        return checkpoint
    count = len(adapter.head[name])
    if old is not None and old.head is not None and len(old.head.labels) == count:
        return with_head(checkpoint, old.head)
    own = checkpoint.task.head
    if own is not None and len(own.labels) == count:
        return with_head(checkpoint, own)
    return with_head(checkpoint, HeadInfo(tuple(f"LABEL_{index}" for index in range(count))))
