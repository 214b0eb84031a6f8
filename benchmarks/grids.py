"""``python -m benchmarks.grids``: what each way of rounding does to the base alone, before any adapter mends it.

Knows nothing about adapters or artifacts; losses are PyTorch's on the values of each grid, in float32.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality import NARROW, TASKS, prepare_data
from benchmarks.smollm2 import find_smollm2
from edgelora.checkpoint.context_length import own_context_length
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.names import is_embedding, is_layer_linear
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.encode import Example, encode_rows
from edgelora.data.rows import read_rows
from edgelora.grid.file import read_grid
from edgelora.grid.gptq import output_error
from edgelora.grid.make import Grid, GridSpec, parse_quant, plan_grid
from edgelora.grid.moments import Calibration
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.choose_grid import calibrate_on
from edgelora.training.loop import mean_loss
from edgelora.training.loss import completion_loss
from edgelora.values import Checkpoint, QuantSpec

_EVERY = 3  # of how many linears one is looked at for the output error


def plans(checkpoint: Checkpoint) -> Mapping[str, GridSpec]:
    """Label -> what is rounded how; all with blocks of 32 unless the label says otherwise."""
    table = next(name for name in checkpoint.names() if is_embedding(name))
    int4 = {method: parse_quant("int4", method=method) for method in ("rtn", "gptq")}
    wide_table = {table: QuantSpec(8)}
    return {
        "float": parse_quant("none"),
        "int8 rtn": parse_quant("int8"),
        **{f"int4 {method}": plan for method, plan in int4.items()},
        "int4 rtn, embedding int8": dataclasses.replace(int4["rtn"], overrides=wide_table),
        "int4 gptq, embedding int8": dataclasses.replace(int4["gptq"], overrides=wide_table),
        "int2 rtn": parse_quant("int2", symmetric=True),
        "int2 gptq": parse_quant("int2", symmetric=True, method="gptq"),
        "int2 gptq, block 16": parse_quant("int2", 16, symmetric=True, method="gptq"),
    }


def read_examples(checkpoint: Checkpoint, data: Path, count: int) -> Sequence[Example]:
    """The first held-out rows of a task, encoded as training encodes them."""
    rows, holds = read_rows(data), own_context_length(checkpoint)
    found = encode_rows(
        rows, open_tokenizer(checkpoint), checkpoint.eos_token_ids, 512, raw=False, where=str(data), context=holds
    )
    return found.examples[:count]


def figures_of(grid: Grid, calibration: Calibration, held_out: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """Bits, errors of the decoder's linears as shares, and the loss on every task, in nats per answer token."""
    linears = [name for name in grid.matrices if is_layer_linear(name)]
    model = load_torch(grid.checkpoint, grid)
    loss = functools.partial(completion_loss, model, device=torch.device("cpu"))
    found: dict[str, Any] = {"bits": dict(grid.bits_by_kind())}
    if linears:
        found["weight_error"] = float(np.mean([grid.errors[name] for name in linears])) if grid.errors else None
        found["output_error"] = float(
            np.mean(
                [
                    output_error(grid.checkpoint.read(name), grid.value(name), calibration.hessians[name])
                    for name in linears[::_EVERY]
                ]
            )
        )
    found["loss"] = {task: mean_loss(loss, examples, 10) for task, examples in held_out.items()}
    return found


def to_markdown(result: Mapping[str, Mapping[str, Any]]) -> str:
    """One row for each grid."""
    lines = [
        "| grid | bits, linears / all | weight error | output error | "
        + " | ".join(f"loss, {t}" for t in TASKS)
        + " |",
        "|---|---:|---:|---:|" + "---:|" * len(TASKS),
    ]
    for label, found in result.items():
        bits = " / ".join(f"{found['bits'][kind] or 32:g}" for kind in ("linears", "all"))
        errors = [f"{100 * found[key]:.1f} %" if found.get(key) else "" for key in ("weight_error", "output_error")]
        losses = [f"{value:.3f}" for value in found["loss"].values()]
        lines.append("| " + " | ".join([label, bits, *errors, *losses]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or one JSON object with --json."""
    parser = argparse.ArgumentParser(description="Measure what each way of rounding does to the base alone.")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/quality"), help="Folder of the data.")
    parser.add_argument("--rows", type=int, default=50, help="Held-out rows of each task.")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    prepare_data(given.output)
    checkpoint = open_checkpoint(find_smollm2())
    calibration = calibrate_on(checkpoint, given.output / "calibration.jsonl")
    held_out = {
        task: read_examples(checkpoint, given.output / "data" / task / "heldout.jsonl", given.rows) for task in TASKS
    }
    result = {}
    for label, plan in plans(checkpoint).items():
        used = calibration if plan.method == "gptq" else None
        result[label] = figures_of(plan_grid(checkpoint, plan, calibration=used), calibration, held_out)
    narrow = given.output / f"{NARROW}.safetensors"
    if narrow.is_file():  # written by `python -m benchmarks.quality`
        result[NARROW] = figures_of(read_grid(narrow, checkpoint), calibration, held_out)
    print(json.dumps(result, indent=1) if given.json else to_markdown(result))


if __name__ == "__main__":
    main()
