"""From a checkpoint to an artifact: merge, quantize, export, package, and only then the final name.

Knows nothing about torch; PyTorch's reference answers are handed in as a function.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgelora.artifact.changing import changing, check_outside, check_replaceable
from edgelora.artifact.check_answers import check_answers
from edgelora.artifact.context_length import choose_context_length
from edgelora.artifact.cost import measure_cost
from edgelora.artifact.exporter import Exporter
from edgelora.artifact.kv_cache_steps import cache_scales
from edgelora.artifact.merge_all import Assembled, merge_all
from edgelora.artifact.merge_auto import AutoMerge, merge_auto
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.package import package
from edgelora.artifact.store import add_adapter
from edgelora.artifact.targets import MATMUL_INTEGER
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.probes import probe_prompts
from edgelora.data.varied_text import measured_ids
from edgelora.errors import ConfigError
from edgelora.grid.make import Grid, MakeGrid
from edgelora.grid.row_codes import as_rows
from edgelora.values import Checkpoint, HalfArray, Reference
from edgelora_runtime.adapter import Factors, read_adapter
from edgelora_runtime.files import replace_folder, reserve, restore
from edgelora_runtime.manifest import INT8_CACHE, MANIFEST_FILE, Manifest, read_manifest


class MakeReference(Protocol):
    """Answers prompts on the values of a grid, with factors of an adapter beside them; PyTorch does."""

    def __call__(
        self, grid: Grid, prompts: Sequence[Sequence[int]], *, baked: Mapping[str, Factors] | None = None
    ) -> Reference:
        """Logits and greedy tokens for each prompt; ``baked`` are factors by module name."""


class AnswerFloat(Protocol):
    """Answers on float weights, nothing rounded; PyTorch does."""

    def __call__(
        self, grid: Grid, rows: Sequence[Sequence[int]], *, baked: Mapping[str, Factors] | None = None
    ) -> Sequence[HalfArray]:
        """Log-probabilities (len(row), vocab_size) of each row on what ``grid`` was made from, beside ``baked``."""


def export_artifact(
    checkpoint: Checkpoint,
    out: Path,
    options: ExportOptions,
    *,
    exporter: Exporter,
    make_grid: MakeGrid,
    auto: AutoMerge | None = None,
    reference: MakeReference | None = None,
    answer_float: AnswerFloat | None = None,
    cache_prompts: Sequence[Sequence[int]] = (),
    budget_mb: float | None = None,
) -> Manifest:
    """Write the artifact ``out``; it appears whole or not at all.

    ``reference`` answers the probe prompts on the grid (PyTorch does); without it ``verify`` cannot compare.
    ``answer_float`` lets the manifest say what rounding costs (``quantization.rounding``), unless nothing is rounded or
    ``auto`` measures by itself. ``auto`` is how layers are chosen that are merged; without it all of them are.
    An int8 KV cache has steps that are measured on ``cache_prompts`` and the probe prompts, with and without adapters.
    ``budget_mb`` is what the file of weights may take; ``make_grid`` has planned for it, and here it is measured.
    What was written is loaded and asked for one token before it gets its name.
    Raises ConfigError when ``out`` exists or a budget cannot be met, AdapterError when an adapter does not fit,
    ArtifactError when the artifact does not answer.
    """
    target, merge, level = options.profile, options.merge, options.level
    _check_output(out, options.overwrite)
    for folder in options.adapters.values():
        read_adapter(folder)  # an unreadable one is told before minutes of work, not after
    context = choose_context_length(checkpoint, options.context_length)
    prompts = tuple(prompt[: context // 2] for prompt in probe_prompts(checkpoint))

    def compile_into(folder: Path, assembled: Assembled, answers: Reference | None = None) -> None:
        exported = exporter.export(
            assembled.grid,
            folder,
            level,
            slots=options.slots if merge is None else (),
            baked=assembled.baked,
            linear_op=target.linear_op,
            context_length=context,
        )
        if options.genai:
            exporter.add_genai(folder, exported, assembled.grid)
        complete = functools.partial(
            package,
            folder,
            grid=assembled.grid,
            target=target.name,
            quantization=_describe(assembled.grid, level),
            merged=assembled.record,
            reference=answers,
            template_variables=options.template_variables or {},
        )
        complete(exported)  # first with a float cache: what is measured is an artifact as a device would run it
        if options.kv_cache == INT8_CACHE:
            scales = cache_scales(folder, (*prompts, *cache_prompts), options.adapters)
            complete(exporter.quantize_cache(folder, exported, scales))

    # The folder is made first: a place that cannot be written is told before minutes of work, not after.
    with reserve(out), replace_folder(out, _replacing if options.overwrite else None) as fresh:
        if merge is None:
            assembled = Assembled(make_grid(checkpoint))
        elif auto is None:
            assembled = merge_all(checkpoint, merge, make_grid, options.accept_lossy_merge)
        else:
            assembled = merge_auto(checkpoint, merge, make_grid, auto, compile_into)
        rounds_rows = target.linear_op == MATMUL_INTEGER and level != 0
        shipped = as_rows(assembled.grid) if rounds_rows else assembled.grid
        rows, taught = _float_answers(assembled, context, None if auto else answer_float)
        answers = None if reference is None else reference(shipped, prompts, baked=assembled.baked)
        compile_into(fresh, assembled, answers)
        check_answers(fresh, checkpoint.name, prompts[0])
        if budget_mb is not None:
            _check_budget(read_manifest(fresh), budget_mb)
        if taught:
            _record_cost(fresh, exporter, rows, taught)
        for name, folder in options.adapters.items():
            add_adapter(fresh, name, folder)
        return read_manifest(fresh)


def _check_budget(manifest: Manifest, budget_mb: float) -> None:
    taken = manifest.files[manifest.graph.weights].bytes
    if taken > budget_mb * 1e6:
        stored = f"as they are stored the weights take {math.ceil(taken / 1e3) / 1e3:g} MB"
        raise ConfigError(
            f"--budget-mb is {budget_mb:g}, but {stored} (scales that float16 cannot hold take twice the room); "
            f"give {budget_mb**2 * 1e6 / taken:.3g}, or a larger --block-size"
        )


def _float_answers(
    assembled: Assembled, context: int, answer: AnswerFloat | None
) -> tuple[Sequence[Sequence[int]], Sequence[HalfArray]]:
    """Built-in text and the float model's answers to it; nothing where no one can or need answer."""
    grid = assembled.grid
    if answer is None or not (grid.matrices or grid.plan.half):
        return (), ()
    checkpoint = grid.checkpoint
    tokenizer = None if checkpoint.tokenizer is None else open_tokenizer(checkpoint)
    rows = measured_ids(tokenizer, int(checkpoint.config["vocab_size"]), context)
    return rows, answer(grid, rows, baked=assembled.baked)


def _record_cost(folder: Path, exporter: Exporter, rows: Sequence[Sequence[int]], taught: Sequence[HalfArray]) -> None:
    manifest = read_manifest(folder)
    rounding = measure_cost(folder, exporter.exact(folder / manifest.graph.file), rows, taught)
    manifest = dataclasses.replace(manifest, quantization={**manifest.quantization, "rounding": rounding})
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def _check_output(out: Path, overwrite: bool) -> None:
    """Raise before any work where ``_replacing`` would after it."""
    restore(out)
    check_outside(out)
    if not out.exists():
        return
    if not overwrite:
        raise ConfigError(f"{out} exists; choose another folder, or replace it with --overwrite")
    with _replacing(out):
        pass


@contextlib.contextmanager
def _replacing(out: Path) -> Iterator[None]:
    """The moment in which an artifact is replaced: nothing else is, and no other command changes it meanwhile."""
    check_replaceable(out)
    with changing(out) as place:
        check_replaceable(place)
        yield


def _describe(grid: Grid, accuracy_level: int) -> Mapping[str, Any]:
    if grid.plan.spec is None:
        return grid.describe()
    worst = max(grid.errors, key=lambda name: grid.errors[name], default=None)
    return {
        **grid.describe(),
        "accuracy_level": accuracy_level,
        "bits_per_weight": grid.bits_per_weight(),
        "tensors_with_kept_codes": len(grid.matrices) - len(grid.errors),
        "mean_relative_error": round(sum(grid.errors.values()) / len(grid.errors), 5) if grid.errors else 0.0,
        "worst_tensor": worst,
        "worst_relative_error": round(grid.errors[worst], 5) if worst else 0.0,
    }
