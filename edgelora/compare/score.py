"""Scores of every arm and seed, each kept in a file with what it depends on, so that a stopped comparison goes on.

Workshop, Arm -> Score
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgelora.compare.arms import Arm, Settings, adapter_name
from edgelora.compare.artifacts import EXACT_LEVEL, Workshop, weight_bytes
from edgelora.compare.grids import hash_file
from edgelora.compare.storage import read_result, write_result
from edgelora.data.labelled import AnyRow, read_labelled
from edgelora.data.rows import Rows, read_rows
from edgelora.errors import DataError
from edgelora.evaluation.score import Case, count_answers, encode_cases, mean_loss, score_answers, task_metric
from edgelora.evaluation.score_encoder import score_rows
from edgelora_runtime import EncoderModel, Model, load
from edgelora_runtime.manifest import TEXT_GENERATION

_PACKAGES = ("edgelora", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Score:
    """What one arm does on the held-out rows with the adapter of one seed."""

    loss: float  # nats per answer token, or per text; where a task has none, what its metric lacks to 1
    rows: int  # that the loss is of
    answered: int  # rows that the figures are of
    figures: Mapping[str, float | int | None]
    bytes: int  # graph, weights and adapter
    survival: Mapping[str, float] | None = None  # what rounding left of a merged adapter


def score_arms(workshop: Workshop, arms: Sequence[Arm], folder: Path) -> Mapping[str, Mapping[int | None, Score]]:
    """Arm name -> seed -> score; the base alone has the one seed None. Scores in ``folder`` are used where they fit.

    Raises DataError when no row can be evaluated, or a loss is not finite.
    """
    settings = workshop.settings
    judge: _Judge | _TaskJudge
    if workshop.checkpoint.task.generates:
        judge = _Judge(workshop, read_rows(settings.eval_data), arms)
    else:
        judge = _TaskJudge(workshop, read_labelled(settings.eval_data, workshop.checkpoint.task.name).rows, arms)
    eval_sha256 = hash_file(settings.eval_data)
    scores: dict[str, dict[int | None, Score]] = {arm.name: {} for arm in arms}
    # Arms on the same values follow one another, so that their artifact is loaded once.
    for arm in sorted(arms, key=lambda arm: (arm.merged, list(workshop.grids).index(arm.values))):
        for seed in seeds_of(arm, settings):
            path = folder / f"{label(arm, seed)}.json"
            depends = _depends(workshop, arm, seed, eval_sha256)
            found = read_result(path, depends)
            if found is None:
                found = dataclasses.asdict(judge.score(arm, seed))
                write_result(path, depends, found)
            scores[arm.name][seed] = Score(**found)
    return scores


def seeds_of(arm: Arm, settings: Settings) -> tuple[int | None, ...]:
    """The seeds that an arm has a score for."""
    return settings.seeds if arm.trained_on is not None else (None,)


def label(arm: Arm, seed: int | None) -> str:
    """An arm and a seed, as a file is called."""
    return arm.name if seed is None else adapter_name(arm.name, seed)


def versions(names: Sequence[str] = _PACKAGES) -> Mapping[str, str]:
    """Versions of what decides a score."""
    return {name: version(name) for name in names}


class _Judge:
    """Holds the artifact that was asked for last, loaded, and the rows as its tokenizer encodes them."""

    def __init__(self, workshop: Workshop, rows: Rows, arms: Sequence[Arm]) -> None:
        self._workshop, self._rows, self._arms = workshop, rows, arms
        self._choices = sorted({row.completion for row in rows.rows if row.label})
        self._loaded: tuple[Path, Model, list[Case]] | None = None

    def score(self, arm: Arm, seed: int | None) -> Score:
        """Loss of all rows, figures of those that ``limit`` leaves."""
        settings, progress = self._workshop.settings, self._workshop.progress
        name = None if arm.trained_on is None or seed is None else adapter_name(arm.trained_on, seed)
        model, cases = self._load(_artifact(self._workshop, self._arms, arm, name))
        answered = cases[: settings.limit]
        spec = "none" if name is None or arm.merged else name
        with progress.counting(label(arm, seed), len(cases) + count_answers(answered), "row") as step:
            loss = mean_loss(model, cases, spec, step)
            figures = score_answers(model, answered, self._choices, spec, None, step)
        if not math.isfinite(loss):
            raise DataError(f"the loss of {label(arm, seed)} on {settings.eval_data} is {loss}; lower --learning-rate")
        size = weight_bytes(model.manifest) + (0 if spec == "none" else self._workshop.adapters[spec].bytes)
        survival = (model.manifest.merged or {}).get("survival")
        return Score(loss, len(cases), count_answers(answered), figures, size, survival)

    def _load(self, artifact: Path) -> tuple[Model, list[Case]]:
        if self._loaded is None or self._loaded[0] != artifact:
            self._loaded = None  # the memory of the last one, before the next one is there
            settings = self._workshop.settings
            model = load(artifact, threads=settings.threads)
            self._loaded = (artifact, model, encode_cases(self._rows.rows, model, str(settings.eval_data))[0])
        return self._loaded[1], self._loaded[2]


class _TaskJudge:
    """The same for a task that reads texts once."""

    def __init__(self, workshop: Workshop, rows: Sequence[AnyRow], arms: Sequence[Arm]) -> None:
        self._workshop, self._rows, self._arms = workshop, rows[: workshop.settings.limit], arms
        self._loaded: tuple[Path, EncoderModel] | None = None

    def score(self, arm: Arm, seed: int | None) -> Score:
        """Loss and figures of the rows that ``limit`` leaves."""
        name = None if arm.trained_on is None or seed is None else adapter_name(arm.trained_on, seed)
        model = self._load(_artifact(self._workshop, self._arms, arm, name))
        spec = "none" if name is None or arm.merged else name
        with self._workshop.progress.counting(label(arm, seed), len(self._rows), "row") as step:
            figures = dict(score_rows(model, self._rows, spec, step))
        loss, metric = figures.pop("loss", None), task_metric(figures)
        if loss is None:
            loss = 1 - float((figures[metric] if metric else None) or 0)
        size = weight_bytes(model.manifest) + (0 if spec == "none" else self._workshop.adapters[spec].bytes)
        survival = (model.manifest.merged or {}).get("survival")
        return Score(float(loss), len(self._rows), len(self._rows), figures, size, survival)

    def _load(self, artifact: Path) -> EncoderModel:
        if self._loaded is None or self._loaded[0] != artifact:
            self._loaded = None
            model = load(artifact, threads=self._workshop.settings.threads)
            assert isinstance(model, EncoderModel)  # the checkpoint's task is the artifact's
            self._loaded = (artifact, model)
        return self._loaded[1]


def read_judging(task: str, path: Path) -> None:
    """Raise DataError where the rows that judge cannot be read."""
    if task == TEXT_GENERATION:
        read_rows(path)
    else:
        read_labelled(path, task)


def _artifact(workshop: Workshop, arms: Sequence[Arm], arm: Arm, name: str | None) -> Path:
    if arm.merged and name is not None:
        return workshop.merged(name, EXACT_LEVEL)
    others = [
        adapter_name(other.trained_on, seed)
        for other in arms
        if other.values == arm.values and other.trained_on is not None and not other.merged
        for seed in workshop.settings.seeds
    ]
    return workshop.on_values(arm.values, others, EXACT_LEVEL)


def _depends(workshop: Workshop, arm: Arm, seed: int | None, eval_sha256: str) -> Mapping[str, Any]:
    grid = workshop.grids[arm.values]
    adapter = None if arm.trained_on is None or seed is None else adapter_name(arm.trained_on, seed)
    return {
        "base": grid.base_fingerprint,
        "grid": grid.fingerprint,  # for a merged arm: of the base rounded by the same plan
        "merged": arm.merged,
        "adapter": None if adapter is None else workshop.adapters[adapter].sha256,
        "eval_data_sha256": eval_sha256,
        "limit": workshop.settings.limit,
        "accuracy_level": EXACT_LEVEL,
        "versions": versions(),
    }
