"""``edgelora recover``: options in, a progress bar while it runs, a summary after it.

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
from edgelora.training.recover import TEXT_SUFFIX, recover_adapter
from edgelora.training.run import RunPlan


def recover(
    model: Model,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Plain text (.txt), or the rows that `edgelora train` reads."),
    ],
    out: Out,
    eval_data: Annotated[
        Path | None,
        typer.Option(help="Text or rows held out; the adapter that is nearest to the float model on them is kept."),
    ] = None,
    quant: Quant = "int2",
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
            help="residual: the factors start at what rounding took away; zero: the first answers are those of the "
            "rounded base.  [default: residual]"
        ),
    ] = None,
    share_a: ShareA = False,
    start_from: StartFrom = None,
    max_steps: MaxSteps = None,
    epochs: Epochs = 1,
    batch_size: BatchSize = 4,
    accumulate: Accumulate = 1,
    learning_rate: LearningRate = 1e-3,
    schedule: Schedule = "cosine",
    warmup: Warmup = 5,
    max_length: Annotated[
        int, typer.Option(help="Tokens of a window of text; longer rows are left out and counted.")
    ] = 256,
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
    """Train an adapter that gives back what a coarse grid took from the base.

    The float model answers every token of DATA, and the adapter learns to answer like it on the quantized base: the
    loss is the KL divergence between the two, in nats per token. Any text in the language of the tasks to come serves.
    ADAPTER_DIR becomes an adapter like any other; start those for single tasks from it with `edgelora train --from`.
    Both models are in memory at once, and of every batch the logits of both.

    Example: edgelora recover SmolLM2-135M.gguf text.txt -o adapters/recovered --quant int2 --max-steps 500
    """
    shape = choose_shape(rank, rank_energy, alpha, target_modules, init, start_from, default_init="residual")
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
        quant or "int2", block_size, symmetric, quant_method, calibration, budget_mb, budget_bits, embedding_bits
    )
    # Plain text has no rows to calibrate on.
    make_grid = grid_maker(choice if data.suffix.lower() == TEXT_SUFFIX else calibrated_on(choice, data))
    with open_bar() as bar:
        result = recover_adapter(
            open_base(model), make_grid, plan, options, lambda step: advance(bar, step), residual_bar
        )
    emit(as_json, payload(result), lines(result, "KL"))
