"""A whole training run: rows and a checkpoint in, an adapter folder with its receipt out.

Checkpoint, RunPlan, Recipe -> TrainResult
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from edgelora.adapter.receipt import begin_receipt
from edgelora.checkpoint.context_length import own_context_length
from edgelora.data.encode import AnyExample, Encoded, encode_rows
from edgelora.data.invocation import read_invocation
from edgelora.data.rows import Problem, read_rows
from edgelora.errors import ConfigError
from edgelora.grid.make import Grid, MakeGrid
from edgelora.progress import SILENT, Progress
from edgelora.torch_model.activated import Activation, is_activated
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.packed import weigh
from edgelora.torch_model.recompute import recompute_layers
from edgelora.training.cut_rank import Truncation, truncate_trained
from edgelora.training.finish_receipt import finish_receipt
from edgelora.training.first_adapter import (
    FirstAdapter,
    check_first_adapter,
    check_invocation,
    check_shape,
    read_first_adapter,
)
from edgelora.training.history import StepRecord
from edgelora.training.loftq import loftq_factors
from edgelora.training.loop import Learner, Schedule, fit, last_examples, planned_steps, recent
from edgelora.training.lora import (
    CAUSAL_LM,
    attach_lora,
    lora_layers,
    restore_adapter,
    set_factors,
    set_head,
    trainable,
)
from edgelora.training.loss import Loss, completion_loss
from edgelora.training.publish import check_out, publish
from edgelora.training.recipe import Recipe
from edgelora.training.report_to import check_reporter, reporting
from edgelora.training.resume import load_date, load_state, save_state, show_history
from edgelora.training.templated import open_templated
from edgelora.values import Checkpoint
from edgelora_runtime.files import follow, reserve
from edgelora_runtime.manifest import HeadInfo
from edgelora_runtime.receipt import Receipt

_FEWEST_HELD_BACK, _MOST_HELD_BACK = 20, 500  # rows
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
class Calibrated:
    """The head with its temperature, and how well it does on the rows that gave it."""

    head: HeadInfo
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Lesson:
    """What a run learns from: how a file becomes examples, and which loss a batch of them has."""

    name: str  # as the receipt calls it
    read: Callable[[Checkpoint, Path, Recipe], Encoded]
    make_loss: Callable[[Checkpoint, Any, torch.device], Loss]  # of the model with its factors
    kind: str | None = CAUSAL_LM  # PEFT's word for the task; None where it serves several
    measure: str = "loss"  # what its losses are called
    saved: tuple[str, ...] = ()  # modules of the head that learn too
    origin: Mapping[str, Any] = field(default_factory=dict)  # what else decides the adapter, for the receipt
    # What a head's scores mean on rows that it has not learned; None where nothing is to be calibrated.
    calibrate: Callable[[Any, torch.device, Sequence[Any]], Calibrated] | None = None


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
    rows_cut: int = 0  # texts that lost their end
    calibration_rows: int = 0  # that were held back to calibrate the head
    calibrated: Calibrated | None = None
    measure: str = "loss"  # what the losses are called


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
    invocation = _find_invocation(checkpoint, options)
    if source is not None:
        check_invocation(source, invocation)
    data = lesson.read(checkpoint, plan.data, options)
    held_out = lesson.read(checkpoint, plan.eval_data, options) if plan.eval_data else Encoded((), ())
    examples, judged = data.examples, held_out.examples
    if not judged:
        examples, judged = learned_rows(lesson, data.examples, options.seed)
    grid = make_grid(checkpoint)
    receipt = begin_receipt(grid)
    if source is not None:
        head = checkpoint.task.head
        check_first_adapter(source, receipt, () if head is None else head.labels)
    origin = {"lesson": lesson.name, "start_from": None if source is None else source.sha256, **lesson.origin}
    identity = _identity(receipt, options, origin, examples, held_out.examples)
    unfinished = load_state(out, identity) if plan.resume else None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_torch(checkpoint, grid, low_memory=plan.low_memory).to(device)
    base_weights = weigh(model).weights
    if plan.low_memory:
        recompute_layers(model)
    base_name = plan.hub_repository or checkpoint.name
    factors = None if source is None else source.factors
    wrapped = attach_lora(model, options, base_name, factors, lesson.saved, lesson.kind, invocation)
    if source is not None:
        set_head(wrapped, source.head)
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
        final = fit(Learner(model, wrapped, loss), examples, held_out.examples, options, schedule, unfinished)
    truncation = None
    if options.rank_auto_energy is not None:
        # What is to be told of the cost is told of the rows that nobody learned from, where there are any.
        rows = judged or last_examples(examples, options)
        truncation = truncate_trained(wrapped, final.best_adapter or final.adapter, loss, rows, options)
    elif lesson.calibrate is not None:
        restore_adapter(wrapped, final.best_adapter or final.adapter)
    calibrated = None
    if lesson.calibrate is not None and judged:
        calibrated = lesson.calibrate(model, device, judged)
    result = TrainResult(
        adapter=plan.out,
        steps=final.step,
        planned_steps=planned_steps(examples, options),
        first_loss=final.history[0].loss,
        loss=recent(final.history),
        eval_loss=truncation.loss_after if truncation and held_out.examples else final.best_loss,
        truncation=truncation,
        trainable_parameters=count,
        trainable_share=share,
        rows_used=len(examples),
        rows_skipped=data.problems,
        earlier_answers=data.earlier_answers,
        eval_rows_used=len(held_out.examples),
        eval_rows_skipped=held_out.problems,
        tokens_per_s=final.tokens / max(final.seconds, 1e-9),
        seconds=final.seconds,
        rows_cut=data.cut + held_out.cut,
        calibration_rows=len(data.examples) - len(examples),
        calibrated=calibrated,
        measure=lesson.measure,
    )
    training = {
        **options.record(),
        **origin,
        "rows": result.rows_used,
        "steps": result.steps,
        "loss": result.loss,
        "eval_loss": result.eval_loss,
        "data_sha256": hash_examples(examples),
        "versions": {name: version(name) for name in _RECORDED_PACKAGES},
    }
    cut = None if truncation is None else truncation.record()
    if lesson.calibrate is not None:
        training["calibration"] = {"rows": len(judged), **({} if calibrated is None else calibrated.scores)}
    head = calibrated.head if calibrated is not None else checkpoint.task.head if lesson.saved else None
    receipt = dataclasses.replace(receipt, training=training, truncation=cut, head=head)
    used = [(plan.data.name, len(examples))]
    if plan.eval_data is not None:
        used.append((plan.eval_data.name, len(held_out.examples)))
    publish(
        plan.out,
        plan.overwrite,
        wrapped,
        final,
        truncation,
        used,
        lambda folder: finish_receipt(folder, receipt, grid, model, wrapped),
        plan.hub_repository,
        plan.config,
    )
    return result


def learned_rows(lesson: Lesson, examples: Sequence[Any], seed: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The rows that are learned where none are held out, and those that calibrate a head."""
    return (tuple(examples), ()) if lesson.calibrate is None else hold_back(examples, seed)


def hold_back(examples: Sequence[Any], seed: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The rows that are learned, and a tenth that a head is calibrated on; none where there are few."""
    count = min(len(examples) // 10, _MOST_HELD_BACK)
    if count < _FEWEST_HELD_BACK:
        return tuple(examples), ()
    chosen = set(random.Random(f"{seed}/held back").sample(range(len(examples)), count))
    return (
        tuple(example for index, example in enumerate(examples) if index not in chosen),
        tuple(examples[index] for index in sorted(chosen)),
    )


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
    activation = Activation(model) if is_activated(model) else None
    return functools.partial(completion_loss, model, device=device, activation=activation)


def _find_invocation(checkpoint: Checkpoint, options: Recipe) -> tuple[int, ...]:
    if not options.activated:
        return ()
    return read_invocation(open_templated(checkpoint, options), options.invocation, options.raw)


def _read_examples(checkpoint: Checkpoint, path: Path, options: Recipe) -> Encoded:
    return encode_rows(
        read_rows(path),
        open_templated(checkpoint, options),
        checkpoint.eos_token_ids,
        options.max_length,
        options.raw,
        where=str(path),
        invocation=_find_invocation(checkpoint, options),
        context=own_context_length(checkpoint),
    )


COMPLETIONS = Lesson("completions", _read_examples, _completion_loss)


def _identity(
    receipt: Receipt,
    options: Recipe,
    origin: Mapping[str, Any],
    examples: Sequence[AnyExample],
    held_out: Sequence[AnyExample],
) -> str:
    """Fingerprint of all that decides the final adapter; a checkpoint is resumed under the same one alone."""
    parts: list[Any] = [receipt.fingerprint, receipt.grid, dict(options.record()), dict(origin)]
    parts += [hash_examples(group) for group in (examples, held_out)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def hash_examples(examples: Sequence[AnyExample]) -> str:
    """SHA-256 (hex) of what is learned from: token ids and what is learned of them, in order."""
    return hashlib.sha256(json.dumps([item.key for item in examples]).encode()).hexdigest()
