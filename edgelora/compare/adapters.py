"""The adapters of a comparison: those that are there and are the right ones, and the training of all others.

Grid, Settings -> Trained

A finished adapter is never replaced: it is used when its receipt says that this training would have made it, and
refused otherwise.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora.adapter.receipt import begin_receipt
from edgelora.compare.arms import Settings, adapter_name
from edgelora.compare.grids import hash_file
from edgelora.errors import ConfigError
from edgelora.grid.make import Grid
from edgelora.progress import Progress
from edgelora.training.first_adapter import FirstAdapter, check_first_adapter, check_shape, read_first_adapter
from edgelora.training.recipe import Recipe
from edgelora.training.run import COMPLETIONS, Lesson, RunPlan, hash_examples, learned_rows, train_adapter
from edgelora.training.task_lesson import Prepared, prepare
from edgelora.values import Checkpoint
from edgelora_runtime.receipt import Receipt, read_receipt

_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Trained:
    """An adapter folder that belongs to this comparison."""

    folder: Path
    reused: bool
    training: Mapping[str, Any]  # as its receipt records it

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) over weights and configuration."""
        return hashlib.sha256(
            f"{hash_file(self.folder / _WEIGHTS)} {hash_file(self.folder / _CONFIG)}".encode()
        ).hexdigest()

    @property
    def bytes(self) -> int:
        """What a device needs of it."""
        return sum((self.folder / name).stat().st_size for name in (_WEIGHTS, _CONFIG))


@dataclass(frozen=True)
class Lines:
    """The training rows as a receipt records them."""

    count: int
    sha256: str


def obtain_adapters(
    checkpoint: Checkpoint, grids: Mapping[str, Grid], settings: Settings, folder: Path, progress: Progress
) -> Mapping[str, Trained]:
    """Adapter name -> adapter for every kind of values and every seed.

    All that is there is checked before anything is trained. Raises ConfigError naming the first difference.
    """
    ready = prepare(checkpoint, settings.data, settings.options)
    encoded = ready.lesson.read(ready.checkpoint, settings.data, ready.options)
    lines = {}
    for seed in settings.seeds:
        examples, _ = learned_rows(ready.lesson, encoded.examples, seed)
        lines[seed] = Lines(len(examples), hash_examples(examples))
    wanted = [(values, seed) for seed in settings.seeds for values in grids]
    head = ready.checkpoint.task.head
    starts = {name: read_first_adapter(path) for name, path in settings.starts}
    for name, first in starts.items():
        check_first_adapter(first, begin_receipt(grids[name]), () if head is None else head.labels)
        check_shape(first, settings.options_of(settings.seeds[0], first))
    trained = {}
    for values, seed in wanted:
        name = adapter_name(values, seed)
        if (folder / name / _CONFIG).is_file():
            trained[name] = _reuse(folder / name, grids[values], settings, seed, starts.get(values), lines[seed], ready)
    if trained:
        progress.say(f"{len(trained)} of {len(wanted)} adapters are there already")
    for values, seed in wanted:
        name = adapter_name(values, seed)
        if name not in trained:
            trained[name] = _train(grids[values], settings, seed, starts.get(values), folder / name, progress, ready)
    return trained


def differences(
    receipt: Receipt,
    grid: Grid,
    options: Recipe,
    lines: Lines,
    first: FirstAdapter | None = None,
    lesson: Lesson = COMPLETIONS,
) -> list[str]:
    """Why a receipt is not that of this training, in words; fields that it does not have say nothing."""
    wrong = []
    if receipt.fingerprint != grid.base_fingerprint:
        wrong.append(f"base {receipt.fingerprint[:12]} ({receipt.name}), now {grid.base_fingerprint[:12]}")
    expected = None if grid.plan.spec is None else grid.fingerprint
    if receipt.grid != expected:
        wrong.append(f"grid {str(receipt.grid)[:12]}, now {str(expected)[:12]}")
    origin = {"lesson": lesson.name, "start_from": None if first is None else first.sha256, **lesson.origin}
    record = {**options.record(), **origin, "rows": lines.count, "data_sha256": lines.sha256}
    if options.date is None:
        del record["date"]  # the day on which it was trained, which is that of the adapter
    wrong += [
        f"{name} {receipt.training[name]}, now {value}"
        for name, value in record.items()
        if name in receipt.training and receipt.training[name] != value
    ]
    if "data_sha256" not in receipt.training:
        wrong.append("no record of its rows")
    return wrong


def _reuse(
    folder: Path,
    grid: Grid,
    settings: Settings,
    seed: int,
    first: FirstAdapter | None,
    lines: Lines,
    ready: Prepared,
) -> Trained:
    receipt, options = read_receipt(folder), _options(settings, seed, first, ready)
    wrong = ["no receipt"] if receipt is None else differences(receipt, grid, options, lines, first, ready.lesson)
    if wrong or receipt is None:
        raise ConfigError(
            f"{folder} holds an adapter of another training: {'; '.join(wrong)}; give the same options and data "
            "again, choose another report folder, or move the adapter away to train it anew"
        )
    return Trained(folder, True, receipt.training)


def _train(
    grid: Grid,
    settings: Settings,
    seed: int,
    first: FirstAdapter | None,
    folder: Path,
    progress: Progress,
    ready: Prepared,
) -> Trained:
    # No evaluation data: the rows that judge the adapters must not choose between their steps.
    plan = RunPlan(settings.data, folder, resume=True, start_from=None if first is None else first.folder)
    options, headed = _options(settings, seed, first, ready), dataclasses.replace(grid, checkpoint=ready.checkpoint)
    train_adapter(ready.checkpoint, lambda _: headed, plan, options, ready.lesson, progress)
    receipt = read_receipt(folder)
    return Trained(folder, False, {} if receipt is None else receipt.training)


def _options(settings: Settings, seed: int, first: FirstAdapter | None, ready: Prepared) -> Recipe:
    return dataclasses.replace(settings.options_of(seed, first), raw=ready.options.raw)
