"""From the parts of an artifact to the artifact: build, package, try, and only then the final name.

Parts, Build -> Manifest
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgelora.adapter.dora import is_dora, read_dora
from edgelora.adapter.genai import check_genai
from edgelora.artifact.about import read_about
from edgelora.artifact.build import Build, build_artifact
from edgelora.artifact.changing import changing, check_outside, check_replaceable
from edgelora.artifact.check_answers import check_answers
from edgelora.artifact.check_encoder import check_encoder
from edgelora.artifact.convert_adapters import plain_for
from edgelora.artifact.cost import rounding_cost
from edgelora.artifact.exporter import Exporter
from edgelora.artifact.parts import Parts
from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.varied_text import measured_ids
from edgelora.errors import ConfigError
from edgelora.option import OPTIONS_FILE, write_options
from edgelora.values import Checkpoint, EncoderReference, HalfArray, Reference
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.files import replace_folder, reserve, restore
from edgelora_runtime.manifest import MANIFEST_FILE, Manifest, read_manifest


def export_artifact(parts: Parts, out: Path, build: Build) -> Manifest:
    """Write the artifact ``out``; it appears whole or not at all. Raises what its two halves below raise."""
    with place_artifact(out, parts.grid.checkpoint, build) as folder:
        return fill_artifact(folder, parts, build)


@contextlib.contextmanager
def place_artifact(out: Path, checkpoint: Checkpoint, build: Build) -> Iterator[Path]:
    """Give the block an empty folder, which stands at ``out`` when the block has ended well.

    A place that cannot be written and an adapter that cannot be read are told before minutes of work, not after.
    Raises ConfigError when ``out`` exists or the context is too long, AdapterError for an unreadable adapter.
    """
    options = build.options
    _check_output(out, options.overwrite)
    for folder in options.adapters.values():
        if is_dora(folder):
            adapter = read_dora(folder, {}).adapter
        else:
            adapter = read_adapter(folder, with_head=not checkpoint.task.generates, with_gains=True)
        if options.genai:
            check_genai(folder, adapter)
    build.context_length(checkpoint)
    with reserve(out), replace_folder(out, _replacing if options.overwrite else None) as fresh:
        yield fresh


def fill_artifact(folder: Path, parts: Parts, build: Build) -> Manifest:
    """Write everything into ``folder``; what was written is loaded and asked for one token.

    Raises ConfigError for a budget that is not met, AdapterError when an adapter does not fit, ArtifactError when the
    artifact does not answer.
    """
    checkpoint = parts.grid.checkpoint
    rows, taught = _float_answers(parts, build)
    build_artifact(folder, parts, build, _reference(parts, build))
    if checkpoint.task.generates:
        check_answers(folder, checkpoint.name, build.prompts(checkpoint)[0])
    else:
        check_encoder(folder, checkpoint.name)
    if build.budget_mb is not None:
        _check_budget(read_manifest(folder), build.budget_mb)
    if taught:
        _record_cost(folder, build.exporter, rows, taught)
    for name, adapter in build.options.adapters.items():
        with plain_for(folder, adapter) as plain:
            about, options = read_about(adapter), build.options
            add_adapter(folder, name, plain.path, store=options.store, about=about, share=options.share)
    if build.config is not None:
        write_options(folder / OPTIONS_FILE, build.config)
    return read_manifest(folder)


def _check_budget(manifest: Manifest, budget_mb: float) -> None:
    taken = manifest.files[manifest.graph.weights].bytes
    if taken > budget_mb * 1e6:
        stored = f"as they are stored the weights take {math.ceil(taken / 1e3) / 1e3:g} MB"
        raise ConfigError(
            f"--budget-mb is {budget_mb:g}, but {stored} (scales that float16 cannot hold take twice the room); "
            f"give {budget_mb**2 * 1e6 / taken:.3g}, or a larger --block-size"
        )


def _reference(parts: Parts, build: Build) -> Reference | EncoderReference | None:
    """PyTorch's answers on the values that ship."""
    if not build.has_reference:
        return None
    if not parts.grid.checkpoint.task.generates:
        from edgelora.torch_model.encoder_reference import make_encoder_reference

        return make_encoder_reference(
            build.shipped(parts.grid), build.prompts(parts.grid.checkpoint), baked=parts.baked
        )
    from edgelora.torch_model.reference import make_reference  # torch, for which nobody else waits

    grid = parts.grid
    return make_reference(build.shipped(grid), build.prompts(grid.checkpoint), baked=parts.baked)


def _float_answers(parts: Parts, build: Build) -> tuple[Sequence[Sequence[int]], Sequence[HalfArray]]:
    """Built-in text and the float model's answers to it; nothing where no cost is asked for, or nothing is rounded."""
    grid = parts.grid
    if not build.has_cost or not grid.checkpoint.task.generates or not (grid.matrices or grid.plan.half):
        return (), ()
    from edgelora.torch_model.reference import answer_float

    checkpoint = grid.checkpoint
    tokenizer = None if checkpoint.tokenizer is None else open_tokenizer(checkpoint)
    rows = measured_ids(tokenizer, int(checkpoint.config["vocab_size"]), build.context_length(checkpoint))
    return rows, answer_float(grid, rows, baked=parts.baked)


def _record_cost(folder: Path, exporter: Exporter, rows: Sequence[Sequence[int]], taught: Sequence[HalfArray]) -> None:
    manifest = read_manifest(folder)
    rounding = rounding_cost(folder, exporter.exact(folder / manifest.graph.file), rows, taught)
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
