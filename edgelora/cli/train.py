"""``edgelora train``: options in, a progress bar while it runs, a summary after it.

Knows nothing about how training works.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelora.cli.grid_options import (
    BlockSize,
    BudgetBits,
    BudgetMb,
    Calibration,
    EmbeddingBits,
    Quant,
    QuantMethod,
    Symmetric,
    grid_choice,
)
from edgelora.cli.output import Json, emit
from edgelora.cli.template_options import Day, TemplateVar, read_variables
from edgelora.cli.training_options import (
    Accumulate,
    Alpha,
    BatchSize,
    Epochs,
    EvalEvery,
    LearningRate,
    LowMemory,
    MaxSteps,
    Model,
    Out,
    Overwrite,
    Precision,
    Rank,
    RankEnergy,
    Raw,
    Resume,
    SaveEvery,
    Schedule,
    Seed,
    ShareA,
    StartFrom,
    TargetModules,
    Warmup,
    advance,
    check_intervals,
    choose_shape,
    lines,
    open_bar,
    payload,
    residual_bar,
)
from edgelora.torch_model.choose_grid import calibrated_on, grid_maker
from edgelora.torch_model.open_base import open_base
from edgelora.training.options import TrainOptions
from edgelora.training.run import RunPlan, train_adapter


def train(
    model: Model,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA.jsonl",
            help='One JSON object a line: {"prompt", "completion"}, {"messages"}, {"text", "label"} or {"text"}.',
        ),
    ],
    out: Out,
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
    embedding_bits: EmbeddingBits = None,
    rank: Rank = None,
    rank_energy: RankEnergy = None,
    alpha: Alpha = None,
    target_modules: TargetModules = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="zero: the first answers are the base's; residual: the factors start at what rounding took away, "
            "which suits coarse grids.  [default: zero]"
        ),
    ] = None,
    share_a: ShareA = False,
    start_from: StartFrom = None,
    max_steps: MaxSteps = None,
    epochs: Epochs = 1,
    batch_size: BatchSize = 8,
    accumulate: Accumulate = 1,
    learning_rate: LearningRate = 1e-3,
    schedule: Schedule = "cosine",
    warmup: Warmup = 5,
    max_length: Annotated[int, typer.Option(help="Tokens; longer rows are left out and counted.")] = 512,
    precision: Precision = "float32",
    raw: Raw = False,
    template_var: TemplateVar = None,
    date: Day = None,
    seed: Seed = 0,
    eval_every: EvalEvery = None,
    save_every: SaveEvery = 50,
    resume: Resume = False,
    overwrite: Overwrite = False,
    low_memory: LowMemory = False,
    as_json: Json = False,
) -> None:
    """Train a LoRA adapter on the values that an export will ship.

    The base is frozen and snapped to the grid of --quant first, so the adapter learns on what the device multiplies
    with; export with the same grid options, or give both one file of `edgelora quantize`. gptq and budgets calibrate
    on DATA itself unless --calibration names other rows. The loss covers completions alone, rendered with the model's
    chat template; of a conversation the last answer is learned. --from goes on from another adapter, one of
    `edgelora recover` for example. ADAPTER_DIR becomes a PEFT folder with a receipt.json that names
    the base and the grid.

    Example: edgelora train SmolLM2-135M.gguf rows.jsonl -o adapters/mine --epochs 2
    """
    shape = choose_shape(rank, rank_energy, alpha, target_modules, init, start_from)
    options = TrainOptions(
        rank=shape.rank,
        alpha=shape.alpha,
        target_modules=shape.target_modules,
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
        template_variables=read_variables(template_var) or {},
        date=date,
        init=shape.init,
        share_a=share_a,
        rank_auto_energy=shape.energy,
    )
    check_intervals(save_every, eval_every)
    plan = RunPlan(data, out, eval_data, eval_every, save_every, resume, overwrite, low_memory, start_from)
    choice = grid_choice(
        quant or "int4", block_size, symmetric, quant_method, calibration, budget_mb, budget_bits, embedding_bits
    )
    make_grid = grid_maker(calibrated_on(choice, data))
    with open_bar() as bar:
        result = train_adapter(
            open_base(model), make_grid, plan, options, lambda step: advance(bar, step), track=residual_bar
        )
    emit(as_json, payload(result), lines(result))
