"""``edgelora train``: options in, a progress bar while it runs, a summary after it.

Knows nothing about how training works.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from edgelora.checkpoint import open_checkpoint
from edgelora.cli.grid_options import (
    BlockSize,
    BudgetBits,
    BudgetMb,
    Calibration,
    Quant,
    QuantMethod,
    Symmetric,
    grid_choice,
)
from edgelora.cli.output import Json, emit, finite
from edgelora.data import Problem
from edgelora.errors import ConfigError
from edgelora.training.choose_grid import calibrated_on, grid_maker
from edgelora.training.loop import StepReport
from edgelora.training.options import ALL_LINEAR, TrainOptions
from edgelora.training.run import RunPlan, TrainResult, train_adapter

_SHOWN = 5  # skipped lines named to people; --json names all


def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Hugging Face folder, hub id or GGUF file.")],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA.jsonl",
            help='One JSON object a line: {"prompt", "completion"}, {"messages"}, {"text", "label"} or {"text"}.',
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="ADAPTER_DIR", help="Folder that the adapter becomes.")],
    eval_data: Annotated[
        Path | None,
        typer.Option(help="Rows held out; the adapter with the lowest loss on them is the one that is kept."),
    ] = None,
    quant: Quant = "int4",
    block_size: BlockSize = None,
    symmetric: Symmetric = None,
    quant_method: QuantMethod = None,
    calibration: Calibration = None,
    budget_mb: BudgetMb = None,
    budget_bits: BudgetBits = None,
    rank: Annotated[
        int, typer.Option(help="Width of the adapter; its size and its cost on the device grow with it.")
    ] = 8,
    alpha: Annotated[float | None, typer.Option(help="Strength: scaling is alpha / rank.  [default: 2 * rank]")] = None,
    target_modules: Annotated[
        str, typer.Option(help=f"{ALL_LINEAR}, or names with commas between, such as q_proj,v_proj.")
    ] = ALL_LINEAR,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps; wins over --epochs.")] = None,
    epochs: Annotated[int, typer.Option(help="Times that every row is seen.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Rows that run at once.")] = 8,
    accumulate: Annotated[int, typer.Option(help="Batches summed into one step; saves memory, not time.")] = 1,
    learning_rate: Annotated[float, typer.Option(help="At its highest, after the warmup.")] = 1e-3,
    schedule: Annotated[str, typer.Option(help="cosine, linear or constant, after the warmup.")] = "cosine",
    warmup: Annotated[int, typer.Option(help="Steps over which the learning rate rises.")] = 5,
    max_length: Annotated[int, typer.Option(help="Tokens; longer rows are left out and counted.")] = 512,
    precision: Annotated[
        str, typer.Option(help="float32 is exact; bfloat16 is faster where the processor multiplies it natively.")
    ] = "float32",
    raw: Annotated[
        bool, typer.Option("--raw", help="Leave the chat template out; run the adapter with --raw too.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same adapter.")] = 0,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps between evaluations; 0 is the end alone.  [default: 4 in a run]")
    ] = None,
    save_every: Annotated[
        int, typer.Option(help="Steps between checkpoints in ADAPTER_DIR/.checkpoint; 0 is never.")
    ] = 50,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of a run that was stopped, if there is one.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the adapter that ADAPTER_DIR holds.")] = False,
    low_memory: Annotated[
        bool,
        typer.Option("--low-memory", help="Keep the base packed and dequantize a layer at a time: the same adapter."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a LoRA adapter on the values that an export will ship.

    The base is frozen and snapped to the grid of --quant first, so the adapter learns on what the device multiplies
    with; export with the same grid options, or give both one file of `edgelora quantize`. gptq and budgets calibrate
    on DATA itself unless --calibration names other rows. The loss covers completions alone, rendered with the model's
    chat template. ADAPTER_DIR becomes a PEFT folder with a receipt.json that names the base and the grid.

    Example: edgelora train SmolLM2-135M.gguf rows.jsonl -o adapters/mine --epochs 2
    """
    options = TrainOptions(
        rank=rank,
        alpha=2.0 * rank if alpha is None else alpha,
        target_modules=tuple(name.strip() for name in target_modules.split(",") if name.strip()),
        epochs=epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        accumulate=accumulate,
        learning_rate=learning_rate,
        schedule=schedule,
        warmup=warmup,
        max_length=max_length,
        seed=seed,
        precision=precision,
        raw=raw,
    )
    for name, value in (("--save-every", save_every), ("--eval-every", eval_every or 0)):
        if value < 0:
            raise ConfigError(f"{name} is {value}, expected 0 or more")
    plan = RunPlan(data, out, eval_data, eval_every, save_every, resume, overwrite, low_memory=low_memory)
    choice = grid_choice(quant or "int4", block_size, symmetric, quant_method, calibration, budget_mb, budget_bits)
    make_grid = grid_maker(calibrated_on(choice, data))
    # A log file gets a line now and then, a terminal a bar that moves.
    with tqdm(unit="step", dynamic_ncols=True, mininterval=0.5 if sys.stderr.isatty() else 15) as bar:
        result = train_adapter(open_checkpoint(model), make_grid, plan, options, lambda step: _advance(bar, step))
    emit(as_json, _payload(result), _lines(result))


def _advance(bar: tqdm[None], report: StepReport) -> None:
    """Move the bar; time left is what the bar itself works out."""
    if bar.total is None:
        bar.reset(total=report.total)
        bar.initial = report.step - 1  # a resumed run does not count the steps of the first one into its speed
        bar.n = report.step - 1
    bar.set_postfix_str(f"loss {report.loss:.4f}, {report.tokens_per_s:.0f} tokens/s", refresh=False)
    if report.eval_loss is not None:
        bar.write(f"step {report.step}: evaluation loss {report.eval_loss:.4f}", file=bar.fp)
    bar.update(1)


def _payload(result: TrainResult) -> dict[str, object]:
    return {
        "adapter": str(result.adapter),
        "steps": result.steps,
        "loss": finite(result.loss),
        "eval_loss": None if result.eval_loss is None else finite(result.eval_loss),
        "trainable_parameters": result.trainable_parameters,
        "trainable_share": result.trainable_share,
        "rows": _rows(result.rows_used, result.rows_skipped),
        "eval_rows": _rows(result.eval_rows_used, result.eval_rows_skipped),
        "tokens_per_s": result.tokens_per_s,
        "seconds": result.seconds,
    }


def _rows(used: int, skipped: tuple[Problem, ...]) -> dict[str, object]:
    return {"used": used, "skipped": [{"line": problem.line, "reason": problem.reason} for problem in skipped]}


def _lines(result: TrainResult) -> list[str]:
    lines = [
        f"{result.adapter}: {result.steps} steps, loss {result.loss:.4f}"
        + ("" if result.eval_loss is None else f", evaluation loss {result.eval_loss:.4f}"),
        f"trainable parameters: {result.trainable_parameters:,} ({result.trainable_share:.2%} of all)",
        f"{result.tokens_per_s:.0f} tokens/s, {result.seconds:.0f} s",
    ]
    for what, used, skipped in (
        ("rows", result.rows_used, result.rows_skipped),
        ("evaluation rows", result.eval_rows_used, result.eval_rows_skipped),
    ):
        if skipped:
            lines.append(f"{what}: {used} used, {len(skipped)} skipped")
            lines += [f"  line {problem.line}: {problem.reason}" for problem in skipped[:_SHOWN]]
            if len(skipped) > _SHOWN:
                lines.append(f"  and {len(skipped) - _SHOWN} more; --json names all")
    return lines
