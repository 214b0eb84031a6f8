"""The training loop: steps, evaluation and checkpoints, from any step on.

Learner, AnyExample, Recipe, Schedule -> StepRecord, RunState
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edgelora.data.encode import AnyExample
from edgelora.errors import ConfigError
from edgelora.progress import StepReport
from edgelora.training.batches import BatchPlan, batches_of_step, count_steps, sorted_batches
from edgelora.training.dropout import dropping_out
from edgelora.training.history import StepRecord, evaluations_since_best
from edgelora.training.lora import adapter_state, restore_adapter, trainable_groups
from edgelora.training.loss import Loss
from edgelora.training.recipe import Recipe, learning_rate_at
from edgelora.training.resume import RunState

_LARGEST_GRADIENT = 1.0  # norm that gradients are clipped to
_RECENT = 20  # steps that the reported loss is the mean of


@dataclass(frozen=True)
class Learner:
    """What learns: the factors in ``model``."""

    model: Any  # transformers', with PEFT's layers in it
    wrapped: Any  # PEFT's view of it
    loss: Loss  # the sum over the learned positions of a batch


@dataclass(frozen=True)
class Schedule:
    """When to look up from training, and who is told."""

    eval_every: int | None  # steps; 0 is at the end alone, None four times in a run
    save_every: int  # steps; 0 is never
    patience: int | None  # evaluations without a better one that end the run; None is never
    record: Callable[[StepRecord], None]  # of each step
    save: Callable[[RunState], None]
    report: Callable[[StepReport], None]  # to whoever waits


def fit(
    learner: Learner,
    examples: Sequence[AnyExample],
    held_out: Sequence[AnyExample],
    options: Recipe,
    schedule: Schedule,
    unfinished: RunState | None,
) -> RunState:
    """Train the LoRA factors of a model and return the finished run; ``unfinished`` is one to go on with.

    The loss of a batch is divided by the number of its learned positions.
    With held-out examples ``best_adapter`` is the one of the lowest evaluation loss; without, that of the last step.
    What a step drops out follows from its number, so the same step always gives the same factors; evaluation drops
    nothing.
    The learning rate follows the whole length even where patience ends the run sooner.
    Raises ConfigError when the loss is no number any more.
    """
    wrapped, loss = learner.wrapped, learner.loss
    device = next(learner.model.parameters()).device
    groups = trainable_groups(learner.model)
    parameters = [parameter for group in groups for parameter in group]
    optimizer = torch.optim.AdamW([{"params": group} for group in groups], lr=options.learning_rate, weight_decay=0.0)
    run = unfinished or RunState(0, {}, {}, [], None, None, 0, 0.0)
    if unfinished is not None:
        restore_adapter(wrapped, unfinished.adapter)
        optimizer.load_state_dict(unfinished.optimizer)
    plan, total, last_batch = _plan_batches(examples, options)
    eval_every = max(1, total // 4) if schedule.eval_every is None else schedule.eval_every
    history, tokens, best_loss, best_adapter = list(run.history), run.tokens, run.best_loss, run.best_adapter
    began = time.perf_counter() - run.seconds
    for step in range(run.step, total):
        if schedule.patience is not None and evaluations_since_best(history) >= schedule.patience:
            break
        batches = [
            [examples[index] for index in batch]
            for batch in batches_of_step(plan, step, options.accumulate, last_batch)
        ]
        rate = learning_rate_at(options, step, total)
        for group, ratio in zip(optimizer.param_groups, (1.0, options.head_ratio), strict=False):
            group["lr"] = rate * ratio
        with dropping_out(learner.model, options, step):
            step_loss = _take_step(loss, batches, parameters, optimizer, options, device)
        if not math.isfinite(step_loss):
            raise ConfigError(f"the loss is {step_loss} at step {step + 1}; try a lower --learning-rate")
        tokens += sum(example.tokens for batch in batches for example in batch)
        done, eval_loss = step + 1, None
        if held_out and (done == total or (eval_every and done % eval_every == 0)):
            eval_loss = mean_loss(loss, held_out, options.batch_size)
            if best_loss is None or eval_loss < best_loss:
                best_loss, best_adapter = eval_loss, adapter_state(wrapped)
        seconds = time.perf_counter() - began
        history.append(StepRecord(done, step_loss, rate, tokens, seconds, eval_loss))
        schedule.record(history[-1])
        if schedule.save_every and done % schedule.save_every == 0 and done < total:
            factors = adapter_state(wrapped)
            so_far = RunState(done, factors, optimizer.state_dict(), history, best_loss, best_adapter, tokens, seconds)
            schedule.save(so_far)
        schedule.report(StepReport(done, total, recent(history), tokens / max(seconds, 1e-9), eval_loss))
    final = adapter_state(wrapped)
    seconds = time.perf_counter() - began
    return RunState(
        len(history), final, optimizer.state_dict(), history, best_loss, best_adapter or final, tokens, seconds
    )


def _take_step(
    loss: Loss,
    batches: Sequence[Sequence[AnyExample]],
    parameters: Sequence[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    options: Recipe,
    device: torch.device,
) -> float:
    """One optimizer step over all batches; returns the mean loss per learned position."""
    learned = sum(example.learned for batch in batches for example in batch)
    total = 0.0
    optimizer.zero_grad(set_to_none=True)
    for batch in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            part = loss(batch) / learned
        part.backward()  # type: ignore[no-untyped-call]
        total += float(part.detach())
    torch.nn.utils.clip_grad_norm_(parameters, _LARGEST_GRADIENT)
    optimizer.step()
    return total


def last_examples(examples: Sequence[AnyExample], options: Recipe) -> list[AnyExample]:
    """What the last batch of a run with these options holds."""
    plan, total, last_batch = _plan_batches(examples, options)
    return [examples[index] for index in batches_of_step(plan, total - 1, options.accumulate, last_batch)[-1]]


def planned_steps(examples: Sequence[AnyExample], options: Recipe) -> int:
    """Steps of a run that nothing ends sooner."""
    return _plan_batches(examples, options)[1]


def _plan_batches(examples: Sequence[AnyExample], options: Recipe) -> tuple[BatchPlan, int, int]:
    """The batches of a run, its number of steps, and the batch that it ends before."""
    plan = BatchPlan(tuple(example.tokens for example in examples), options.batch_size, options.seed)
    total = count_steps(plan, options.epochs, options.accumulate, options.max_steps)
    return plan, total, plan.per_epoch * options.epochs if options.max_steps is None else total * options.accumulate


def mean_loss(loss: Loss, examples: Sequence[AnyExample], batch_size: int) -> float:
    """Mean loss (nats) per learned position, always in float32."""
    total = 0.0
    with torch.inference_mode():
        for batch in sorted_batches([example.tokens for example in examples], batch_size):
            total += float(loss([examples[index] for index in batch]))
    return total / sum(example.learned for example in examples)


def recent(history: Sequence[StepRecord]) -> float:
    """Mean loss of the last steps."""
    last = history[-_RECENT:]
    return sum(step.loss for step in last) / len(last)
