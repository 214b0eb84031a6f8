"""``edgelora quantize``: make the grid of a base once, as a file that train and export read.

GridChoice -> QuantizeResult as lines or JSON
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from edgelora.api import QuantizeResult
from edgelora.api import quantize as write_quantized
from edgelora.checkpoint.task import TASK_WORDS
from edgelora.cli.bars import BARS
from edgelora.cli.flags import repeatable
from edgelora.cli.output import Json, emit, size
from edgelora.grid.bits import BitPlan
from edgelora.grid.make import Grid
from edgelora.torch_model.choose_grid import GridChoice


@repeatable
def quantize(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A Hugging Face folder, a hub id (owner/name, or owner/name@revision), or a GGUF file.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="GRID", help="The grid file to write.")],
    grid: GridChoice = GridChoice("int4"),
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help=f"What the model is to do: {', '.join(TASK_WORDS)}.  [default: what the model's own head is for]",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the grid file at GRID.")] = False,
    as_json: Json = False,
) -> None:
    """Write the grid of MODEL as one file, for `train --quant GRID` and `export --quant GRID`.

    A budget starts every linear at the bits of --quant and widens to 4 or 8 bits what saves most for its size: with
    --calibration by how far the model's answers diverge when a linear is rounded, else by how far its weights move.

    Example: edgelora quantize SmolLM2.gguf -o smol.safetensors --quant int2 --budget-bits 3 --calibration rows.jsonl
    """
    found = payload(write_quantized(model, output, grid, task=task, overwrite=overwrite, progress=BARS))
    emit(as_json, found, _lines(found))


def payload(result: QuantizeResult) -> dict[str, Any]:
    """What the command reports, as JSON."""
    chosen = result.chosen
    grid = chosen.grid
    worst = max(grid.errors, key=lambda name: grid.errors[name], default=None)
    return {
        "grid": str(result.path),
        "bytes": result.path.stat().st_size,
        "label": grid.plan.label,
        "method": grid.plan.method,
        "bits_per_weight": dict(grid.bits_by_kind()),
        "tensors_per_bits": {str(bits): count for bits, count in sorted(_widths(grid).items())},
        "tensors_with_kept_codes": len(grid.matrices) - len(grid.errors),
        "mean_relative_error": round(sum(grid.errors.values()) / len(grid.errors), 5) if grid.errors else 0.0,
        "worst_relative_error": round(grid.errors[worst], 5) if worst else 0.0,
        "worst_tensor": worst,
        "budget": None if chosen.bits is None else _budget(chosen.bits),
        "calibration": grid.calibration,
        "base": grid.base_fingerprint,
        "fingerprint": grid.fingerprint,
        "seconds": result.seconds,
    }


def _widths(grid: Grid) -> Counter[int]:
    return Counter(spec.bits for spec in grid.specs.values())


def _budget(bits: BitPlan) -> dict[str, Any]:
    return {
        "megabytes": bits.budget.megabytes,
        "bits": bits.budget.bits,
        "reached": round(bits.reached, 4),
        "error": round(bits.error, 5),
        "unit": bits.unit,
        "choices": [
            {
                "tensors": list(item.tensors),
                "bits": item.bits,
                "errors": {str(width): round(error, 6) for width, error in item.errors.items()},
                "reason": item.reason,
            }
            for item in bits.choices
        ],
    }


def _lines(data: dict[str, Any]) -> list[str]:
    kinds = ", ".join(f"{kind} {bits}" for kind, bits in data["bits_per_weight"].items() if bits is not None)
    widths = ", ".join(f"{count} at {bits} bits" for bits, count in data["tensors_per_bits"].items())
    lines = [
        f"wrote {data['grid']}: {size(data['bytes'])} in {data['seconds']} s, grid {data['fingerprint'][:12]}",
        f"{data['label']} by {data['method']}; bits per weight: {kinds}; tensors: {widths}",
    ]
    if data["worst_tensor"]:
        mean, worst = (f"{100 * data[key]:.1f} %" for key in ("mean_relative_error", "worst_relative_error"))
        lines.append(f"rounding: {mean} of a weight's size on average, at most {worst} ({data['worst_tensor']})")
    if data["budget"] is not None:
        budget = data["budget"]
        unit, limit = ("bits for a linear weight", budget["bits"]) if budget["bits"] else ("MB", budget["megabytes"])
        lines.append(f"budget: {budget['reached']:g} of {limit:g} {unit}")
        narrowest = min(int(bits) for bits in data["tensors_per_bits"])
        lines += [
            f"  {item['bits']} bits: {', '.join(item['tensors'])}: {item['reason']}"
            for item in budget["choices"]
            if item["bits"] > narrowest
        ]
    return lines
