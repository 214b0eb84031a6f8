"""A whole training run: rows and a checkpoint in, an adapter folder with its receipt out.

Checkpoint, RunPlan, Recipe -> TrainResult
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from edgelora.adapter.page import PAGE_FILE
from edgelora.adapter.receipt import begin_receipt
from edgelora.artifact.changing import check_outside
from edgelora.data.encode import Encoded, Example, encode_rows
from edgelora.data.rows import Problem, read_rows
from edgelora.errors import ConfigError
from edgelora.grid.make import Grid, MakeGrid
from edgelora.option import OPTIONS_FILE, write_options
from edgelora.progress import SILENT, Progress
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.packed import weigh
from edgelora.torch_model.recompute import recompute_layers
from edgelora.training.card import CARD_FILE, is_card, write_card
from edgelora.training.cut_rank import Truncation, rewrite_truncated, truncate_trained
from edgelora.training.finish_receipt import finish_receipt
from edgelora.training.first_adapter import FirstAdapter, check_first_adapter, check_shape, read_first_adapter
from edgelora.training.history import HISTORY_FILE, StepRecord, history_lines
from edgelora.training.loftq import loftq_factors
from edgelora.training.loop import Learner, Schedule, fit, last_examples, planned_steps, recent
from edgelora.training.lora import attach_lora, lora_layers, set_factors, trainable, write_peft
from edgelora.training.loss import Loss, completion_loss
from edgelora.training.recipe import Recipe
from edgelora.training.report_to import check_reporter, reporting
from edgelora.training.resume import (
    CHECKPOINT_FOLDER,
    UNFINISHED,
    RunState,
    load_date,
    load_state,
    save_state,
    show_history,
)
from edgelora.training.templated import open_templated
from edgelora.values import Checkpoint
from edgelora_runtime.adapter import WEIGHTS_FILE
from edgelora_runtime.adapter_config import CONFIG_FILE
from edgelora_runtime.files import follow, is_temporary, replace_folder, reserve, restore, write_atomically
from edgelora_runtime.receipt import RECEIPT_FILE, Receipt

_WRITTEN = {WEIGHTS_FILE, CONFIG_FILE, RECEIPT_FILE, PAGE_FILE, CARD_FILE, OPTIONS_FILE, HISTORY_FILE, *UNFINISHED}
_RECORDED_PACKAGES = ("edgelora", "torch", "transformers", "peft", "numpy")


@dataclass(frozen=True)
class RunPlan:
    """Where a run reads and writes; none of it changes what is learned, except the data."""

    data: Path
    out: Path
    eval_data: Path | None = None
    eval_every: int | None = None  # steps; 0 is at the end alone, None four times in a run
    save_every: int = 50  # steps; 0 never saves
    patience: int | None = None  # evaluations without a better one that end the run; None never ends it
    report_to: str | None = None  # one of REPORTERS
    resume: bool = False
    overwrite: bool = False
    low_memory: bool = False  # the base stays packed and layers are computed again in the backward pass
    start_from: Path | None = None  # an adapter whose factors are the first ones
    hub_repository: str | None = None  # of the base; what PEFT and a hub then know it by, else by its short name
    config: Mapping[str, Any] | None = None  # what ``--config`` reads to repeat the run; written beside the adapter

    def __post_init__(self) -> None:
        for name, value in (("--save-every", self.save_every), ("--eval-every", self.eval_every or 0)):
            if value < 0:
                raise ConfigError(f"{name} is {value}, expected 0 or more")
        check_reporter(self.report_to)
        if self.patience is None:
            return
        if self.patience < 1:
            raise ConfigError(f"--patience is {self.patience}, expected at least 1")
        if self.eval_data is None:
            raise ConfigError("--patience counts evaluations and there are none; give rows held out with --eval-data")
        if self.eval_every == 0:
            raise ConfigError("--patience needs evaluations on the way; --eval-every 0 has one at the end alone")


@dataclass(frozen=True)
class Lesson:
    """What a run learns from: how a file becomes examples, and which loss a batch of them has."""

    name: str  # as the receipt calls it
    read: Callable[[Checkpoint, Path, Recipe], Encoded]
    make_loss: Callable[[Checkpoint, Any, torch.device], Loss]  # of the model with its factors


@dataclass(frozen=True)
class TrainResult:
    """What a finished run reports."""

    adapter: Path
    steps: int
    planned_steps: int  # more than ``steps`` where patience ended the run
    first_loss: float  # of the first batch, before anything was learned; nats per learned token
    loss: float  # mean of the last steps
    eval_loss: float | None  # of the adapter that was written
    truncation: Truncation | None  # what --rank auto cut, and what that cost
    trainable_parameters: int
    trainable_share: float  # of all parameters, the adapter's included
    rows_used: int
    rows_skipped: tuple[Problem, ...]
    earlier_answers: int  # assistant turns of conversations before the one that was learned
    eval_rows_used: int
    eval_rows_skipped: tuple[Problem, ...]
    tokens_per_s: float
    seconds: float


def train_adapter(
    checkpoint: Checkpoint,
    make_grid: MakeGrid,
    plan: RunPlan,
    options: Recipe,
    lesson: Lesson | None = None,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train a LoRA adapter on the base's shipped values and write it as a PEFT folder with a receipt.

    Without a ``lesson`` it learns the completions of the rows.
    Raises DataError for unusable data, ConfigError for options that cannot work or a folder in the way, AdapterError
    for an adapter that cannot be started from, and CheckpointError for a base that cannot be built.
    """
    check_out(follow(plan.out), plan.overwrite)
    with reserve(plan.out):  # told now, a place that cannot be written or is being written costs no training
        return _train(checkpoint, make_grid, plan, options, lesson or COMPLETIONS, progress)


def _train(
    checkpoint: Checkpoint,
    make_grid: MakeGrid,
    plan: RunPlan,
    options: Recipe,
    lesson: Lesson,
    progress: Progress,
) -> TrainResult:
    out = follow(plan.out)
    source = _read_source(plan, options)
    options = _settle_date(options, out if plan.resume else None)
    if plan.config is not None and options.date is not None:
        plan = dataclasses.replace(plan, config={**plan.config, "date": options.date})
    data = lesson.read(checkpoint, plan.data, options)
    held_out = lesson.read(checkpoint, plan.eval_data, options) if plan.eval_data else Encoded((), ())
    grid = make_grid(checkpoint)
    receipt = begin_receipt(grid)
    if source is not None:
        check_first_adapter(source, receipt)
    origin = {"lesson": lesson.name, "start_from": None if source is None else source.sha256}
    identity = _identity(receipt, options, origin, data.examples, held_out.examples)
    unfinished = load_state(out, identity) if plan.resume else None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_torch(checkpoint, grid, low_memory=plan.low_memory).to(device)
    base_weights = weigh(model).weights
    if plan.low_memory:
        recompute_layers(model)
    wrapped = attach_lora(
        model, options, plan.hub_repository or checkpoint.name, None if source is None else source.factors
    )
    if options.init == "residual" and unfinished is None:
        _mend_rounding(grid, wrapped, options, progress)
    count = sum(parameter.numel() for parameter in trainable(model))
    share = count / (count + base_weights)
    loss = lesson.make_loss(checkpoint, model, device)
    earlier = unfinished.history if unfinished else ()
    with (
        progress.training(plan.out.name) as report,
        reporting(plan.report_to, plan.out.name, plan.config or {}, earlier) as show,
        show_history(out, earlier) as keep,
    ):

        def record(step: StepRecord) -> None:
            keep(step)
            show(step)

        schedule = Schedule(
            plan.eval_every,
            plan.save_every,
            plan.patience,
            record,
            lambda state: save_state(out, state, identity, options.date),
            report,
        )
        final = fit(Learner(model, wrapped, loss), data.examples, held_out.examples, options, schedule, unfinished)
    truncation = None
    if options.rank_auto_energy is not None:
        # What is to be told of the cost is told of the rows that nobody learned from, where there are any.
        judged = held_out.examples or last_examples(data.examples, options)
        truncation = truncate_trained(wrapped, final.best_adapter or final.adapter, loss, judged, options)
    result = TrainResult(
        adapter=plan.out,
        steps=final.step,
        planned_steps=planned_steps(data.examples, options),
        first_loss=final.history[0].loss,
        loss=recent(final.history),
        eval_loss=truncation.loss_after if truncation and held_out.examples else final.best_loss,
        truncation=truncation,
        trainable_parameters=count,
        trainable_share=share,
        rows_used=len(data.examples),
        rows_skipped=data.problems,
        earlier_answers=data.earlier_answers,
        eval_rows_used=len(held_out.examples),
        eval_rows_skipped=held_out.problems,
        tokens_per_s=final.tokens / max(final.seconds, 1e-9),
        seconds=final.seconds,
    )
    training = {
        **options.record(),
        **origin,
        "rows": result.rows_used,
        "steps": result.steps,
        "loss": result.loss,
        "eval_loss": result.eval_loss,
        "data_sha256": hash_examples(data.examples),
        "versions": {name: version(name) for name in _RECORDED_PACKAGES},
    }
    cut = None if truncation is None else truncation.record()
    receipt = dataclasses.replace(receipt, training=training, truncation=cut)
    used = [(path.name, len(rows.examples)) for path, rows in ((plan.data, data), (plan.eval_data, held_out)) if path]
    _publish(
        plan, wrapped, final, truncation, used, lambda folder: finish_receipt(folder, receipt, grid, model, wrapped)
    )
    return result


def check_out(out: Path, overwrite: bool) -> None:
    """Raise ConfigError when ``out`` holds anything that training must not replace."""
    restore(out)
    check_outside(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"{out} is a file; choose a folder for the adapter")
    names = set(_list_files(out))
    foreign = sorted(names - _WRITTEN | {name for name in names & {CARD_FILE} if not is_card(out / name)})
    if foreign:
        raise ConfigError(f"{out} holds other files ({', '.join(foreign[:3])}); choose another folder")
    if names - UNFINISHED and not overwrite:
        raise ConfigError(f"{out} already holds an adapter; choose another folder or replace it with --overwrite")


def _list_files(out: Path) -> Iterator[str]:
    """What lies in ``out`` and its checkpoint folder, other folders by their names alone."""
    for entry in out.iterdir():
        if entry.name == CHECKPOINT_FOLDER and entry.is_dir() and not entry.is_symlink():
            yield from (f"{entry.name}/{item.name}" for item in entry.iterdir() if not is_temporary(item.name))
        elif not is_temporary(entry.name):
            yield entry.name if entry.is_file() else f"{entry.name}/"


def _read_source(plan: RunPlan, options: Recipe) -> FirstAdapter | None:
    """The adapter to start from, held to the options; None where the run starts from its own factors."""
    if plan.start_from is None:
        return None
    if options.init != "zero" or options.rank_auto_energy is not None:
        raise ConfigError("--from takes factors and ranks from its adapter; leave --init and --rank auto out")
    source = read_first_adapter(plan.start_from)
    check_shape(source, options)
    return source


def _settle_date(options: Recipe, unfinished: Path | None) -> Recipe:
    """Options with the day of the run: given, that of the run that goes on, or today."""
    if options.raw or options.date is not None:
        return options
    kept = None if unfinished is None else load_date(unfinished)
    return dataclasses.replace(options, date=kept or datetime.date.today().isoformat())


def _mend_rounding(grid: Grid, wrapped: Any, options: Recipe, progress: Progress) -> None:
    """Replace the fresh factors by those that mend the rounding best."""
    modules = list(lora_layers(wrapped))
    set_factors(wrapped, loftq_factors(grid, modules, options.rank, options.alpha / options.rank, progress))


def _completion_loss(_checkpoint: Checkpoint, model: Any, device: torch.device) -> Loss:
    return functools.partial(completion_loss, model, device=device)


def _read_examples(checkpoint: Checkpoint, path: Path, options: Recipe) -> Encoded:
    return encode_rows(
        read_rows(path),
        open_templated(checkpoint, options),
        checkpoint.eos_token_ids,
        options.max_length,
        options.raw,
        where=str(path),
    )


COMPLETIONS = Lesson("completions", _read_examples, _completion_loss)


def _identity(
    receipt: Receipt,
    options: Recipe,
    origin: Mapping[str, Any],
    examples: Sequence[Example],
    held_out: Sequence[Example],
) -> str:
    """Fingerprint of all that decides the final adapter; a checkpoint is resumed under the same one alone."""
    parts: list[Any] = [receipt.fingerprint, receipt.grid, dict(options.record()), dict(origin)]
    parts += [hash_examples(group) for group in (examples, held_out)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def hash_examples(examples: Sequence[Example]) -> str:
    """SHA-256 (hex) of what is learned from: token ids and where each answer starts, in order."""
    return hashlib.sha256(json.dumps([(item.ids, item.prompt_length) for item in examples]).encode()).hexdigest()


def _publish(
    plan: RunPlan,
    wrapped: Any,
    final: RunState,
    truncation: Truncation | None,
    used: Sequence[tuple[str, int]],
    add_receipt: Callable[[Path], Receipt],
) -> None:
    """Write the adapter and put it in the place of what ``out`` holds, its checkpoint included."""

    @contextlib.contextmanager
    def replacing(out: Path) -> Iterator[None]:
        check_out(out, plan.overwrite)
        yield

    with replace_folder(plan.out, replacing) as fresh:
        write_peft(wrapped, final.best_adapter or final.adapter, fresh)
        if truncation is not None:
            rewrite_truncated(fresh, truncation.adapter)
        receipt = add_receipt(fresh)
        write_card(fresh, receipt, used, plan.hub_repository or receipt.name)
        write_atomically(fresh / HISTORY_FILE, history_lines(final.history))
        if plan.config is not None:
            write_options(fresh / OPTIONS_FILE, plan.config)
