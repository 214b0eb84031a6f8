"""Completes the receipt of an adapter folder with what only a model can tell, and writes its readable page.

PEFT folder, Grid, torch model -> Receipt

The adapter may come from elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelora.adapter.page import write_page
from edgelora.adapter.receipt import begin_receipt, complete_receipt
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.probes import find_probes
from edgelora.errors import AdapterError
from edgelora.grid.make import Grid
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.probe import probe_adapter
from edgelora.values import Checkpoint
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.receipt import Receipt, read_receipt, write_receipt


def finish_receipt(folder: Path, receipt: Receipt, grid: Grid, model: Any, wrapped: Any | None = None) -> Receipt:
    """Measure the adapter in ``folder``, write ``receipt.json`` and ``receipt.md`` beside it, and return the receipt.

    ``model`` is that of ``grid``; ``wrapped`` the PEFT model around it, where there is one.
    """
    adapter = read_adapter(folder)
    checkpoint = grid.checkpoint
    probes = probe_adapter(model, wrapped, adapter, find_probes(checkpoint), checkpoint.eos_token_ids)
    measured = complete_receipt(receipt, folder, adapter, grid, probes)
    write_receipt(folder, measured)
    write_page(folder, measured, None if checkpoint.tokenizer is None else open_tokenizer(checkpoint).decode)
    return measured


def make_receipt(checkpoint: Checkpoint, folder: Path, make_grid: Callable[[Checkpoint], Grid]) -> Receipt:
    """Give an adapter that was trained on ``checkpoint`` a receipt, or measure its old one anew.

    Raises AdapterError when the old receipt names another base or another grid than ``make_grid`` gives.
    """
    read_adapter(folder)  # an unreadable one is told before the base is read
    old = read_receipt(folder)
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
        fresh = dataclasses.replace(fresh, training=old.training, truncation=old.truncation)
    return finish_receipt(folder, fresh, grid, load_torch(checkpoint, grid))
