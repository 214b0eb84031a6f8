"""A whole training run: rows and a checkpoint in, an adapter folder with its receipt out.

Knows nothing about the command line; how a step works is the loop's matter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from edgelora.adapter.receipt import Receipt, write_receipt
from edgelora.data import Problem, read_rows
from edgelora.errors import ConfigError
from edgelora.grid import Grid, MakeGrid
from edgelora.text import open_tokenizer
from edgelora.training.encode import Encoded, Example, encode_rows
from edgelora.training.loop import Schedule, StepReport, fit, recent
from edgelora.training.lora import attach_lora, trainable, write_peft
from edgelora.training.model import load_torch
from edgelora.training.options import TrainOptions
from edgelora.training.state import CHECKPOINT_FOLDER, RunState, load_state, save_state
from edgelora.types import Checkpoint

_ADAPTER_CONFIG = "adapter_config.json"
_RECORDED_PACKAGES = ("edgelora", "torch", "transformers", "peft", "numpy")


@dataclass(frozen=True)
class RunPlan:
    """Where a run reads and writes; none of it changes what is learned, except the data."""

    data: Path
    out: Path
    eval_data: Path | None = None
    eval_every: int | None = None  # steps; 0 is at the end alone, None four times in a run
    save_every: int = 50  # steps; 0 never saves
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class TrainResult:
    """What a finished run reports."""

    adapter: Path
    steps: int
    loss: float  # mean of the last steps, nats per completion token
    eval_loss: float | None  # of the adapter that was written
    trainable_parameters: int
    trainable_share: float  # of all parameters, the adapter's included
    rows_used: int
    rows_skipped: tuple[Problem, ...]
    eval_rows_used: int
    eval_rows_skipped: tuple[Problem, ...]
    tokens_per_s: float
    seconds: float


def train_adapter(
    checkpoint: Checkpoint,
    make_grid: MakeGrid,
    plan: RunPlan,
    options: TrainOptions,
    report: Callable[[StepReport], None],
) -> TrainResult:
    """Train a LoRA adapter on the base's shipped values and write it as a PEFT folder with a receipt.

    Raises DataError for unusable data, ConfigError for options that cannot work or a folder in the way, and
    CheckpointError for a base that cannot be built.
    """
    out = plan.out.resolve()
    check_out(out, plan.overwrite)
    data = _read_examples(checkpoint, plan.data, options)
    held_out = _read_examples(checkpoint, plan.eval_data, options) if plan.eval_data else Encoded((), ())
    out.mkdir(parents=True, exist_ok=True)  # now, so that a path that cannot be written costs no training
    grid = make_grid(checkpoint)
    receipt = _begin_receipt(grid)
    identity = _identity(receipt, options, data.examples, held_out.examples)
    start = load_state(out, identity) if plan.resume else None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_torch(checkpoint, grid).to(device)
    wrapped = attach_lora(model, options, checkpoint.name)
    count = sum(parameter.numel() for parameter in trainable(model))
    share = count / sum(parameter.numel() for parameter in model.parameters())
    final = fit(
        model,
        wrapped,
        data.examples,
        held_out.examples,
        options,
        Schedule(plan.eval_every, plan.save_every),
        start,
        lambda state: save_state(out, state, identity),
        report,
    )
    result = TrainResult(
        adapter=plan.out,
        steps=final.step,
        loss=recent(final.losses),
        eval_loss=final.best_loss,
        trainable_parameters=count,
        trainable_share=share,
        rows_used=len(data.examples),
        rows_skipped=data.problems,
        eval_rows_used=len(held_out.examples),
        eval_rows_skipped=held_out.problems,
        tokens_per_s=final.tokens / max(final.seconds, 1e-9),
        seconds=final.seconds,
    )
    record = {
        **options.record(),
        "rows": result.rows_used,
        "steps": result.steps,
        "loss": result.loss,
        "eval_loss": result.eval_loss,
        "data_sha256": _hash_examples(data.examples),
        "versions": {name: version(name) for name in _RECORDED_PACKAGES},
    }
    _publish(out, wrapped, final, dataclasses.replace(receipt, training=record))
    return result


def check_out(out: Path, overwrite: bool) -> None:
    """Raise ConfigError when ``out`` holds anything that training must not replace."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"{out} is a file; choose a folder for the adapter")
    names = {entry.name for entry in out.iterdir()} - {CHECKPOINT_FOLDER}
    if not names:
        return  # empty, or an unfinished run
    if _ADAPTER_CONFIG not in names:
        raise ConfigError(f"{out} holds other files ({', '.join(sorted(names)[:3])}); choose another folder")
    if not overwrite:
        raise ConfigError(f"{out} already holds an adapter; choose another folder or replace it with --overwrite")


def _read_examples(checkpoint: Checkpoint, path: Path, options: TrainOptions) -> Encoded:
    return encode_rows(
        read_rows(path),
        open_tokenizer(checkpoint),
        checkpoint.eos_token_ids,
        options.max_length,
        options.raw,
        where=str(path),
    )


def _begin_receipt(grid: Grid) -> Receipt:
    """The receipt without its training record."""
    spec = grid.plan.spec
    return Receipt(
        name=grid.checkpoint.name,
        fingerprint=grid.base_fingerprint,
        grid=None if spec is None and not grid.plan.half else grid.fingerprint,
        quantization=None if spec is None else grid.describe(),
    )


def _identity(receipt: Receipt, options: TrainOptions, examples: Sequence[Example], held_out: Sequence[Example]) -> str:
    """Fingerprint of all that decides the final adapter; a checkpoint is resumed under the same one alone."""
    parts: list[Any] = [receipt.fingerprint, receipt.grid, dict(options.record())]
    parts += [_hash_examples(group) for group in (examples, held_out)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _hash_examples(examples: Sequence[Example]) -> str:
    """SHA-256 (hex) of what is learned from: token ids and where each answer starts, in order."""
    return hashlib.sha256(json.dumps([(item.ids, item.prompt_length) for item in examples]).encode()).hexdigest()


def _publish(out: Path, wrapped: Any, final: RunState, receipt: Receipt) -> None:
    """Write the adapter beside ``out`` and swap the folders, so that ``out`` is never half an adapter."""
    fresh = out.with_name(f".{out.name}.new{os.getpid()}")
    spent = out.with_name(f".{out.name}.old{os.getpid()}")
    fresh.mkdir()
    try:
        write_peft(wrapped, final.best_adapter or final.adapter, fresh)
        write_receipt(fresh, receipt)
        out.rename(spent)
        fresh.rename(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(spent, ignore_errors=True)
