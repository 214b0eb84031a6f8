"""Writes the files of an artifact into a folder: graph, weights, tokenizer, manifest.

Parts, Build, Reference -> the files of an artifact in a folder
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelora.adapter.dora import has_gains
from edgelora.artifact.convert_adapters import plain_for_all
from edgelora.artifact.exporter import Exporter
from edgelora.artifact.kv_cache_steps import cache_scales
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.package import package
from edgelora.artifact.parts import Parts
from edgelora.artifact.targets import MATMUL_INTEGER, MATMUL_NBITS
from edgelora.checkpoint.context_length import choose_context_length
from edgelora.data.probes import probe_prompts
from edgelora.grid.make import Grid
from edgelora.grid.row_codes import as_rows
from edgelora.values import Checkpoint, EncoderReference, Reference
from edgelora_runtime.manifest import IMAGE_CLASSIFICATION, INT8_CACHE


@dataclass(frozen=True)
class Build:
    """How parts become an artifact: alike for what ships and for a candidate that is only weighed.

    An int8 KV cache has steps that are measured on ``cache_prompts`` and the probe prompts, with and without adapters.
    ``budget_mb`` is what the file of weights may take. ``has_reference`` stores answers of PyTorch, without which
    ``verify`` cannot compare; ``has_cost`` lets the manifest say what rounding costs (``quantization.rounding``).
    """

    exporter: Exporter
    options: ExportOptions = field(default_factory=ExportOptions)
    cache_prompts: Sequence[Sequence[int]] = ()
    budget_mb: float | None = None
    has_reference: bool = False
    has_cost: bool = False
    config: Mapping[str, Any] | None = None  # what ``--config`` reads to repeat the export; written beside the manifest

    def context_length(self, checkpoint: Checkpoint) -> int:
        """Tokens that the artifact remembers; raises ConfigError for more than the model knows."""
        return choose_context_length(checkpoint, self.options.context_length)

    def prompts(self, checkpoint: Checkpoint) -> tuple[Sequence[int], ...]:
        """The probe prompts, as much of each as half a context holds; none for a model of images."""
        if checkpoint.task.name == IMAGE_CLASSIFICATION:
            return ()
        half = self.context_length(checkpoint) // 2
        return tuple(prompt[:half] for prompt in probe_prompts(checkpoint))

    def shipped(self, grid: Grid) -> Grid:
        """``grid`` with the values that the target multiplies with."""
        op = self.linear_op(grid.checkpoint)
        if self.options.level == 0 or op == MATMUL_NBITS:
            return grid
        return as_rows(grid, tables=op == MATMUL_INTEGER)

    def rounds_rows(self, checkpoint: Checkpoint) -> bool:
        """Whether a decoder's linears are rounded to rows of 8 bits, with ``Grid.column_factors``."""
        generates = checkpoint.task.generates
        return generates and self.options.level > 0 and self.linear_op(checkpoint) == MATMUL_INTEGER

    def linear_op(self, checkpoint: Checkpoint) -> str:
        """The operator that multiplies with the grid."""
        return self.options.profile.op(checkpoint.task.generates)


def build_artifact(
    folder: Path, parts: Parts, build: Build, reference: Reference | EncoderReference | None = None
) -> None:
    """Write graph, weights, tokenizer and manifest into ``folder``, which is empty; adapters are added later."""
    options, exporter, checkpoint = build.options, build.exporter, parts.grid.checkpoint
    exported = exporter.export(
        parts.grid,
        folder,
        options.level,
        slots=options.slots if parts.record is None else (),
        baked=parts.baked,
        linear_op=build.linear_op(checkpoint),
        fused=options.profile.has_operators,
        context_length=build.context_length(checkpoint),
        gains=options.dora or any(map(has_gains, options.adapters.values())),
    )
    if options.genai:
        exporter.add_genai(folder, exported, parts.grid)
    record = _quantization_record(parts.grid, options.level)
    # First with a float cache: what is measured is an artifact as a device would run it.
    package(folder, exported, parts, options, record, reference)
    if options.kv_cache == INT8_CACHE:
        with plain_for_all(folder, options.adapters) as adapters:
            scales = cache_scales(folder, (*build.prompts(checkpoint), *build.cache_prompts), adapters)
        package(folder, exporter.quantize_cache(folder, exported, scales), parts, options, record, reference)


def _quantization_record(grid: Grid, accuracy_level: int) -> Mapping[str, Any]:
    if grid.plan.spec is None:
        return grid.record()
    worst = max(grid.errors, key=lambda name: grid.errors[name], default=None)
    return {
        **grid.record(),
        "accuracy_level": accuracy_level,
        "bits_per_weight": grid.bits_per_weight(),
        "tensors_with_kept_codes": len(grid.matrices) - len(grid.errors),
        "mean_relative_error": round(sum(grid.errors.values()) / len(grid.errors), 5) if grid.errors else 0.0,
        "worst_tensor": worst,
        "worst_relative_error": round(grid.errors[worst], 5) if worst else 0.0,
    }
