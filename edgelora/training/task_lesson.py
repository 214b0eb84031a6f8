"""What a run learns for a task that reads a text once: its rows, its loss, its head and what calibrates that.

Checkpoint, rows, Recipe -> Checkpoint with a head for the rows' labels, Lesson
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgelora.checkpoint.placing import head_modules
from edgelora.checkpoint.task import with_head
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.encode import Encoded
from edgelora.data.encode_labelled import Labelled, encode_labelled
from edgelora.data.labelled import LabelledRows, balanced_weights, read_labelled
from edgelora.errors import ConfigError, DataError
from edgelora.evaluation.calibrate import fit_temperature, mean_surprise
from edgelora.evaluation.metrics import accuracy, label_f1, macro_f1
from edgelora.grid.make import MakeGrid
from edgelora.progress import SILENT, Progress
from edgelora.training.loss import Loss
from edgelora.training.recipe import CLASS_WEIGHTS, Recipe
from edgelora.training.run import COMPLETIONS, Calibrated, Lesson, RunPlan, TrainResult, train_adapter
from edgelora.training.task_loss import TaskModel, label_loss, pair_loss, read_outputs
from edgelora.values import Checkpoint
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    MULTI_LABEL,
    SINGLE_LABEL,
    TEXT_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    HeadInfo,
)

_KINDS = {  # task -> the lesson's name, PEFT's word
    TEXT_CLASSIFICATION: ("classification", "SEQ_CLS"),
    TOKEN_CLASSIFICATION: ("tagging", "TOKEN_CLS"),
    FEATURE_EXTRACTION: ("embedding", "FEATURE_EXTRACTION"),
}
_WHOLE = ("classifier", "score")  # what PEFT trains of every model with labels, with all that is in it
_READ_AT_ONCE = 32


@dataclass(frozen=True)
class Prepared:
    """What ``train_adapter`` takes for the rows of a file."""

    checkpoint: Checkpoint  # with a head for their labels
    options: Recipe
    lesson: Lesson


def train_task(
    checkpoint: Checkpoint, make_grid: MakeGrid, plan: RunPlan, options: Recipe, progress: Progress = SILENT
) -> TrainResult:
    """Train an adapter, and a head where the task has one, for the task that ``checkpoint`` was opened for.

    Raises what ``train_adapter`` does, and ConfigError for options of another task.
    """
    ready = prepare(checkpoint, plan.data, options)
    return train_adapter(ready.checkpoint, make_grid, plan, ready.options, ready.lesson, progress)


def prepare(checkpoint: Checkpoint, data: Path, options: Recipe) -> Prepared:
    """The lesson of the task that ``checkpoint`` was opened for; of text-generation all stays as it is."""
    task = checkpoint.task.name
    if checkpoint.task.generates:
        if options.class_weights != CLASS_WEIGHTS[0]:
            raise ConfigError("--class-weights is about labels of --task classification and tagging; leave it out")
        return Prepared(checkpoint, options, COMPLETIONS)
    check_task_recipe(checkpoint, options)
    if task == FEATURE_EXTRACTION and options.class_weights != CLASS_WEIGHTS[0]:
        raise ConfigError("--class-weights is about labels, which rows of --task embedding do not have; leave it out")
    rows = read_labelled(data, task)
    if task != FEATURE_EXTRACTION:
        checkpoint = _with_labels(checkpoint, rows, data)
    options = dataclasses.replace(options, raw=True)
    return Prepared(checkpoint, options, _lesson(checkpoint, rows, data, options))


def check_task_recipe(checkpoint: Checkpoint, options: Recipe) -> None:
    """Raise ConfigError for a task of images, and for options about the chat template."""
    task = checkpoint.task.name
    if task not in _KINDS:
        raise ConfigError(f"{checkpoint.name} is opened for {task}, and rows here are texts; train a model of texts")
    if options.activated:
        raise ConfigError(f"--activated is for a decoder, and {task} reads a text at once; leave it out")
    if options.raw or options.template_variables or options.date is not None:
        raise ConfigError(f"--raw, --template-var and --date are about the chat template, which {task} does not use")


def _with_labels(checkpoint: Checkpoint, rows: LabelledRows, where: Path) -> Checkpoint:
    """The base with a head for the labels of ``rows``; its own head where that has the same ones."""
    labels, problem = rows.labels, MULTI_LABEL if rows.many else SINGLE_LABEL
    if len(labels) < (1 if rows.many else 2):
        raise DataError(
            f"{where} has the label {labels[0]!r} alone; expected at least two"
            if labels
            else f"{where} has no label in any row; expected at least one"
        )
    own = checkpoint.task.head
    if own is not None and set(own.labels) == set(labels) and own.problem_type == problem:
        return checkpoint
    return with_head(checkpoint, HeadInfo(labels, problem))


def _lesson(checkpoint: Checkpoint, rows: LabelledRows, data: Path, options: Recipe) -> Lesson:
    task = checkpoint.task
    name, kind = _KINDS[task.name]
    labels = () if task.head is None else task.head.labels
    origin: Mapping[str, Any] = {} if task.head is None else {"labels": list(labels), "problem": task.head.problem_type}

    def read(source: Checkpoint, path: Path, chosen: Recipe) -> Encoded:
        found = rows if path == data else read_labelled(path, task.name)
        if found.many != rows.many:
            raise DataError(f"{path} has {'labels' if found.many else 'one label'} a row, {data} has not")
        longest = min(chosen.max_length, task.context_length)
        return encode_labelled(found, open_tokenizer(source), labels, longest, where=str(path))

    weights = None if options.class_weights == CLASS_WEIGHTS[0] else balanced_weights(rows, labels)

    def make_loss(_source: Checkpoint, model: Any, device: torch.device) -> Loss:
        reader = TaskModel(model, task, device)
        if task.name == FEATURE_EXTRACTION:
            return functools.partial(pair_loss, reader)
        chosen = None if weights is None else torch.tensor(weights, device=device)
        return functools.partial(label_loss, reader, chosen)

    if task.name == FEATURE_EXTRACTION:
        return Lesson(name, read, make_loss, kind)

    def calibrate(model: Any, device: torch.device, examples: Sequence[Labelled]) -> Calibrated:
        return calibrate_head(TaskModel(model, task, device), examples)

    saved = _saved_modules(checkpoint)
    return Lesson(name, read, make_loss, kind, saved=saved, origin=origin, calibrate=calibrate)


def _saved_modules(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The modules that travel whole with an adapter: what PEFT always trains, and what the base lacks of its head."""
    stored = set(checkpoint.head_names())
    saved = []
    for module in head_modules(checkpoint.config["model_type"], checkpoint.task.name):
        first = module.partition(".")[0]
        if first.endswith(_WHOLE):
            saved.append(first)
        elif f"{module}.weight" not in stored:
            saved.append(module)
    return tuple(dict.fromkeys(saved))


def calibrate_head(model: TaskModel, examples: Sequence[Labelled]) -> Calibrated:
    """The head of ``model`` with the temperature that suits ``examples``, and how it does on them."""
    head = model.task.head
    assert head is not None
    logits, targets = read_outputs(model, examples, _READ_AT_ONCE)
    temperature = fit_temperature(logits, targets)
    names = np.array(head.labels)
    scores = {"surprise": mean_surprise(logits / np.float32(temperature), targets)}
    if head.problem_type == MULTI_LABEL:
        expected = [names[row > 0].tolist() for row in targets]
        found = [names[row >= 0].tolist() for row in logits]
        scores |= {"macro_f1": label_f1(expected, found)}
    else:
        truth, told = names[targets].tolist(), names[logits.argmax(axis=1)].tolist()
        scores |= {"accuracy": accuracy(truth, told), "macro_f1": macro_f1(truth, told)}
    rounded = {name: round(score, 6) for name, score in scores.items()}
    return Calibrated(dataclasses.replace(head, temperature=temperature), rounded)
