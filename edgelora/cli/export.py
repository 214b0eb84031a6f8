"""``edgelora export``: compile a base model and adapters into an artifact.

GridChoice, ExportOptions -> an artifact, lines or JSON
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgelora.api import export as export_artifact
from edgelora.artifact.options import ExportOptions
from edgelora.cli.bars import BARS
from edgelora.cli.flags import repeatable
from edgelora.cli.merge_lines import merge_lines
from edgelora.cli.output import Json, emit
from edgelora.torch_model.choose_grid import GridChoice


@repeatable
def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A Hugging Face folder, a hub id (owner/name, or owner/name@revision), or a GGUF file.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The artifact folder to write; --overwrite replaces one that is there."),
    ],
    grid: GridChoice = GridChoice("int4"),
    options: ExportOptions = ExportOptions(),
    as_json: Json = False,
) -> None:
    """Compile MODEL into an artifact: a quantized graph with slots, one weight file, tokenizer, adapters.

    Example: edgelora export SmolLM2.gguf -o smol --adapter support=adapters/support
    """
    result = export_artifact(model, output, options, grid=grid, progress=BARS)
    manifest = result.manifest
    size = sum(item.bytes for item in manifest.files.values())
    emit(
        as_json,
        {
            "artifact": str(output),
            "bytes": size,
            "seconds": result.seconds,
            "quantization": dict(manifest.quantization),
            "rounding": manifest.quantization.get("rounding"),
            "slots": len(manifest.slots),
            "context_length": manifest.model.context_length,
            "adapters": [item.name for item in manifest.adapters],
            "merged": None if manifest.merged is None else dict(manifest.merged),
            "notes": manifest.report["notes"],
        },
        [
            f"wrote {output}: {size / 1e6:.1f} MB with {len(manifest.slots)} slots in {result.seconds} s",
            *_rounding_lines(manifest.quantization),
            *_cost_lines(manifest.quantization.get("rounding")),
            *merge_lines(manifest.merged),
            *_context_lines(manifest.model.context_length, result.model_context),
            *(f"note: {text}" for text in manifest.report["notes"]),
        ],
    )


def _rounding_lines(quantization: Mapping[str, Any]) -> list[str]:
    """How far the weights moved, for people; nothing where none was rounded."""
    if not quantization.get("worst_tensor"):
        return []
    mean, worst = (f"{100 * quantization[key]:.1f} %" for key in ("mean_relative_error", "worst_relative_error"))
    where, bits = quantization["worst_tensor"], quantization["bits_per_weight"]
    return [f"rounding: {mean} of a weight's size on average, at most {worst} ({where}); {bits} bits per weight"]


def _cost_lines(rounding: Mapping[str, Any] | None) -> list[str]:
    """What rounding does to answers; nothing where it was not measured."""
    if rounding is None:
        return []
    parts = f"{rounding['kl_grid']:.3g} by the grid, {rounding['kl_device']:.2g} by arithmetic on the device"
    kept = f"{100 * rounding['top1_agreement']:.1f} % of top tokens stay"
    where = f"{rounding['positions']} positions of built-in text"
    return [f"answers: KL {rounding['kl']:.3g} nats from the float model ({parts}), {kept}; {where}"]


def _context_lines(length: int, own: int) -> list[str]:
    """A context that is shorter than it could be; nothing where it is whole."""
    return [f"context: {length} tokens; the model knows {own} (--context-length)"] if length < own else []
