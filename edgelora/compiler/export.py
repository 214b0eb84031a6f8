"""From a checkpoint to an artifact: merge, quantize, export, package, and only then the final name.

Knows nothing about torch; PyTorch's reference answers are handed in as a function.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgelora.adapter.store import add_adapter
from edgelora.compiler.merge import merge_adapter
from edgelora.compiler.package import package
from edgelora.errors import ConfigError
from edgelora.grid import Grid, MakeGrid
from edgelora.probes import probe_prompts
from edgelora.targets import Target
from edgelora.types import Checkpoint, ExportedModel, Reference
from edgelora_runtime.adapter import Factors, read_adapter
from edgelora_runtime.manifest import Manifest, read_manifest

MakeReference = Callable[[Grid, Sequence[Sequence[int]]], Reference]


class Exporter(Protocol):
    """One output format: writes the graph and the weights of a grid into a folder."""

    def export(
        self,
        grid: Grid,
        folder: Path,
        accuracy_level: int,
        slots: bool = True,
        baked: Mapping[str, Factors] | None = None,
    ) -> ExportedModel:
        """Write the files; ``slots=False`` leaves no place for adapters, ``baked`` builds one in (module -> factors)."""

    def add_genai(self, folder: Path, exported: ExportedModel, grid: Grid) -> None:
        """Add the files that let onnxruntime-genai open the artifact."""


def export_artifact(
    checkpoint: Checkpoint,
    out: Path,
    *,
    exporter: Exporter,
    make_grid: MakeGrid,
    target: Target,
    accuracy_level: int | None = None,
    slots: bool = True,
    merge: Path | None = None,
    adapters: Mapping[str, Path] | None = None,
    reference: MakeReference | None = None,
    genai: bool = False,
    overwrite: bool = False,
) -> Manifest:
    """Write the artifact ``out``; it appears whole or not at all.

    ``reference`` answers the probe prompts on the grid (PyTorch does); without it ``verify`` cannot compare.
    Raises ConfigError when ``out`` exists, AdapterError when an adapter does not fit.
    """
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; choose another folder, or replace it with --overwrite")
    for folder in (adapters or {}).values():
        read_adapter(folder)  # an unreadable one is told before minutes of work, not after
    source = checkpoint if merge is None else merge_adapter(checkpoint, merge)
    level = target.accuracy_level if accuracy_level is None else accuracy_level
    grid = make_grid(source)
    temporary = out.parent / f".{out.name}.{os.getpid()}.partial"
    temporary.mkdir(parents=True)
    try:
        exported = exporter.export(grid, temporary, level, slots)
        if genai:
            exporter.add_genai(temporary, exported, grid)
        package(
            temporary,
            exported,
            grid,
            target=target.name,
            quantization=_describe(grid, level),
            merged=None if merge is None else {"adapter": merge.name},
            reference=None if reference is None else reference(grid, probe_prompts(source)),
        )
        for name, folder in (adapters or {}).items():
            add_adapter(temporary, name, folder)
        manifest = read_manifest(temporary)
        _put_in_place(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _put_in_place(temporary: Path, out: Path) -> None:
    if not out.exists():
        temporary.rename(out)
        return
    read_manifest(out)  # --overwrite replaces an artifact and refuses any other folder
    old = out.parent / f".{out.name}.{os.getpid()}.old"
    out.rename(old)
    temporary.rename(out)
    shutil.rmtree(old)


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
