"""A recovery adapter: it learns from the float model's own answers to give back what a coarse grid took away.

Checkpoint, text or rows, Recipe -> TrainResult

How a run goes is ``run``'s matter, which this hands another way to read and another loss.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from edgelora.checkpoint.context_length import own_context_length
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.encode import Encoded, Example, check_ids, encode_rows
from edgelora.data.encode_labelled import encode_texts
from edgelora.data.labelled import read_any_texts
from edgelora.data.rows import TEXT_SUFFIX, is_text, read_rows
from edgelora.errors import ConfigError, DataError
from edgelora.grid.make import Grid, MakeGrid
from edgelora.progress import SILENT, Progress
from edgelora.torch_model.build import load_torch
from edgelora.training.distill import distill_loss, hidden_loss
from edgelora.training.loss import Loss
from edgelora.training.recipe import Recipe
from edgelora.training.run import Lesson, RunPlan, TrainResult, train_adapter
from edgelora.training.task_lesson import check_task_recipe
from edgelora.training.templated import open_templated
from edgelora.values import Checkpoint


def recover_adapter(
    checkpoint: Checkpoint,
    make_grid: MakeGrid,
    plan: RunPlan,
    options: Recipe,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train an adapter under which the base on its grid answers like the float base; losses are KL in nats per token.

    Of a model that reads texts once it matches what stands behind the layers, and the loss is the share of it that is
    off; whatever head comes after them stays as it is.

    The result is an adapter like any other. Errors are those of ``train_adapter``, and ConfigError for a base that is
    not quantized, which has nothing to recover.
    """

    def make_checked(source: Checkpoint) -> Grid:
        grid = make_grid(source)
        if not grid.matrices and not grid.plan.half:
            raise ConfigError("recover mends a quantized base and this one is not; use --quant int2, int4 or int8")
        return grid

    if options.activated:
        raise ConfigError(
            "recover mends every token that the base reads, and --activated only the last ones; leave it out"
        )
    if checkpoint.task.generates:
        return train_adapter(checkpoint, make_checked, plan, options, RECOVERY, progress)
    check_task_recipe(checkpoint, options)
    return train_adapter(
        checkpoint, make_checked, plan, dataclasses.replace(options, raw=True), TEXT_RECOVERY, progress
    )


def read_texts(checkpoint: Checkpoint, path: Path, options: Recipe) -> Encoded:
    """The examples of a file, in which every token but the first counts.

    A ``.txt`` file is one long text, cut into windows of ``options.max_length`` tokens, or of as many as the model
    holds; anything else holds the rows that training reads, rendered in the same way. Raises DataError when there is
    nothing to learn from.
    """
    tokenizer = open_templated(checkpoint, options)
    if not is_text(path):
        found = encode_rows(
            read_rows(path),
            tokenizer,
            checkpoint.eos_token_ids,
            options.max_length,
            options.raw,
            str(path),
            context=own_context_length(checkpoint),
        )
        whole = tuple(dataclasses.replace(example, prompt_length=1) for example in found.examples)
        return dataclasses.replace(found, examples=whole)
    text = read_text_file(path)
    opening = tokenizer.encode_prompt("", end_ids=checkpoint.eos_token_ids)
    ids = tokenizer.encode(text, special=False)
    try:
        check_ids(ids, tokenizer)
    except DataError as error:
        raise DataError(f"{path} cannot be used: {error}") from error
    windows = cut_windows(ids, opening, min(options.max_length, own_context_length(checkpoint)))
    if not windows:
        raise DataError(f"{path} has too few tokens to predict one from another; give it more text")
    return Encoded(windows, ())


def read_text_file(path: Path) -> str:
    """The text of a ``.txt`` file; raises DataError where there is none."""
    if not path.is_file():
        raise DataError(f"{path} is not a file; expected plain text ({TEXT_SUFFIX}) or rows as for train")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error


def cut_windows(ids: Sequence[int], opening: Sequence[int], max_length: int) -> tuple[Example, ...]:
    """Windows of at most ``max_length`` tokens, each with the opening that the tokenizer gives every text.

    What is left at the end is a shorter window, unless nothing in it could be predicted.
    """
    size = max_length - len(opening)
    if size < 2:
        raise ConfigError(f"--max-length is {max_length}, expected at least {len(opening) + 2}")
    windows = ((*opening, *ids[start : start + size]) for start in range(0, len(ids), size))
    return tuple(Example(number, window, 1) for number, window in enumerate(windows, 1) if len(window) > 1)


def _learn_from_float(checkpoint: Checkpoint, model: Any, device: torch.device) -> Loss:
    teacher = load_torch(checkpoint, None).to(device).requires_grad_(False)
    return functools.partial(distill_loss, teacher, model, device=device)


def _read_whole_texts(checkpoint: Checkpoint, path: Path, options: Recipe) -> Encoded:
    """Texts as the device reads them, every token learned: windows of plain text, or the texts of rows of any task."""
    tokenizer = open_tokenizer(checkpoint)
    longest = min(options.max_length, checkpoint.task.context_length)
    if not is_text(path):
        return encode_texts(read_any_texts(path), tokenizer, longest, str(path))
    (found,) = tokenizer.encode_texts([read_text_file(path)])
    size = longest - len(found.before) - len(found.after)
    if size < 1:
        raise ConfigError(f"--max-length is {options.max_length}, expected at least {options.max_length - size + 1}")
    starts = range(0, len(found.ids), size)
    windows = tuple(Example(number, tuple(found.cut(at, at + size)), 0) for number, at in enumerate(starts, 1))
    if not windows:
        raise DataError(f"{path} has no token; give it text")
    return Encoded(windows, ())


def _match_float(checkpoint: Checkpoint, model: Any, device: torch.device) -> Loss:
    teacher = load_torch(checkpoint, None).to(device).requires_grad_(False)
    return functools.partial(hidden_loss, teacher, model, device=device)


RECOVERY = Lesson("recovery", read_texts, _learn_from_float, measure="KL")
TEXT_RECOVERY = Lesson("text-recovery", _read_whole_texts, _match_float, kind=None, measure="share off")
