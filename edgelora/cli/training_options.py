"""The options and the output that ``train`` and ``recover`` share.

Knows nothing about what is learned, or how.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from edgelora.cli.output import finite
from edgelora.data.rows import Problem
from edgelora.errors import ConfigError
from edgelora.training.loop import StepReport
from edgelora.training.options import ALL_LINEAR, AUTO_RANK, INITS
from edgelora.training.run import TrainResult
from edgelora.training.start import read_start

_SHOWN = 5  # skipped lines named to people; --json names all
_AUTO = "auto"
_DEFAULT_RANK = 8
_DEFAULT_ENERGY = 0.99

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Hugging Face folder, hub id or GGUF file.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="ADAPTER_DIR", help="Folder that the adapter becomes.")]
Rank = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="Width of the adapter; its size and its cost on the device grow with it. "
        f"auto trains {AUTO_RANK} wide and keeps what counts.  [default: {_DEFAULT_RANK}]",
    ),
]
RankEnergy = Annotated[
    float | None,
    typer.Option(help=f"Share of the squared singular values that --rank auto keeps.  [default: {_DEFAULT_ENERGY}]"),
]
Alpha = Annotated[float | None, typer.Option(help="Strength: scaling is alpha / rank.  [default: 2 * rank]")]
TargetModules = Annotated[
    str | None,
    typer.Option(help=f"{ALL_LINEAR}, or names with commas between, as q_proj,v_proj.  [default: {ALL_LINEAR}]"),
]
StartFrom = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="ADAPTER_DIR",
        help="Start from an adapter of the same base and grid; rank, alpha and modules are its own.",
    ),
]
ShareA = Annotated[
    bool,
    typer.Option(
        "--share-a",
        help="One A for q, k and v and one for gate and up: nearly half the cost on the device, a little less fit.",
    ),
]
MaxSteps = Annotated[int | None, typer.Option(help="Stop after so many steps; wins over --epochs.")]
Epochs = Annotated[int, typer.Option(help="Times that every row is seen.")]
BatchSize = Annotated[int, typer.Option(help="Rows that run at once.")]
Accumulate = Annotated[int, typer.Option(help="Batches summed into one step; saves memory, not time.")]
LearningRate = Annotated[float, typer.Option(help="At its highest, after the warmup.")]
Schedule = Annotated[str, typer.Option(help="cosine, linear or constant, after the warmup.")]
Warmup = Annotated[int, typer.Option(help="Steps over which the learning rate rises.")]
Precision = Annotated[
    str, typer.Option(help="float32 is exact; bfloat16 is faster where the processor multiplies it natively.")
]
Raw = Annotated[bool, typer.Option("--raw", help="Leave the chat template out; run the adapter with --raw too.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same adapter.")]
EvalEvery = Annotated[
    int | None, typer.Option(help="Steps between evaluations; 0 is the end alone.  [default: 4 in a run]")
]
SaveEvery = Annotated[int, typer.Option(help="Steps between checkpoints in ADAPTER_DIR/.checkpoint; 0 is never.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the checkpoint of a run that was stopped, if there is one.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the adapter that ADAPTER_DIR holds.")]
LowMemory = Annotated[
    bool,
    typer.Option("--low-memory", help="Keep the base packed and compute layers twice: slower, the same adapter."),
]


@dataclass(frozen=True)
class Shape:
    """What an adapter is before it learns."""

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    init: str
    energy: float | None  # of --rank auto


def split_names(text: str) -> tuple[str, ...]:
    """Names with commas between, blanks around them taken off."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def choose_shape(
    rank: str | None,
    rank_energy: float | None,
    alpha: float | None,
    target_modules: str | None,
    init: str | None,
    start_from: Path | None,
    default_init: str = INITS[0],
) -> Shape:
    """Fill in what was not asked for, from the adapter to start from where there is one.

    Raises ConfigError for options that exclude each other and AdapterError when that adapter cannot be read.
    """
    source = None
    if start_from is not None:
        if init is not None or rank == _AUTO:
            other = "--rank auto" if init is None else "--init"
            raise ConfigError(f"--from and {other} exclude each other: the adapter brings its factors and ranks along")
        source = read_start(start_from)
    energy = None
    if rank == _AUTO:
        energy = _DEFAULT_ENERGY if rank_energy is None else rank_energy
    elif rank_energy is not None:
        raise ConfigError("--rank-energy says what --rank auto keeps; give --rank auto as well")
    width = _read_rank(rank, _DEFAULT_RANK if source is None else source.rank)
    if alpha is None:
        alpha = 2.0 * width if source is None else source.alpha
    if target_modules is not None:
        targets = split_names(target_modules)
    else:
        targets = (ALL_LINEAR,) if source is None else source.target_modules
    chosen = INITS[0] if source is not None else default_init
    return Shape(width, alpha, targets, chosen if init is None else init, energy)


def check_intervals(save_every: int, eval_every: int | None) -> None:
    """Raise ConfigError for a number of steps below 0."""
    for name, value in (("--save-every", save_every), ("--eval-every", eval_every or 0)):
        if value < 0:
            raise ConfigError(f"{name} is {value}, expected 0 or more")


def open_bar() -> tqdm[None]:
    """The bar of a run; a log file gets a line now and then, a terminal a bar that moves."""
    return tqdm(unit="step", dynamic_ncols=True, mininterval=0.5 if sys.stderr.isatty() else 15)


def advance(bar: tqdm[None], report: StepReport) -> None:
    """Move the bar; time left is what the bar itself works out."""
    if bar.total is None:
        bar.reset(total=report.total)
        bar.initial = report.step - 1  # a resumed run does not count the steps of the first one into its speed
        bar.n = report.step - 1
    bar.set_postfix_str(f"loss {report.loss:.4f}, {report.tokens_per_s:.0f} tokens/s", refresh=False)
    if report.eval_loss is not None:
        bar.write(f"step {report.step}: evaluation loss {report.eval_loss:.4f}", file=bar.fp)
    bar.update(1)


def residual_bar(modules: Sequence[str]) -> Iterable[str]:
    """A bar over the modules whose rounding is taken apart."""
    bar: Iterable[str] = tqdm(modules, desc="residual", unit="module", file=sys.stderr, disable=None)
    return bar


def payload(result: TrainResult) -> dict[str, object]:
    """What a run says with ``--json``."""
    return {
        "adapter": str(result.adapter),
        "steps": result.steps,
        "first_loss": finite(result.first_loss),
        "loss": finite(result.loss),
        "eval_loss": None if result.eval_loss is None else finite(result.eval_loss),
        "trainable_parameters": result.trainable_parameters,
        "trainable_share": result.trainable_share,
        "truncation": None if result.truncation is None else dict(result.truncation.record()),
        "rows": _rows(result.rows_used, result.rows_skipped),
        "earlier_answers": result.earlier_answers,
        "eval_rows": _rows(result.eval_rows_used, result.eval_rows_skipped),
        "tokens_per_s": result.tokens_per_s,
        "seconds": result.seconds,
    }


def lines(result: TrainResult, what: str = "loss") -> list[str]:
    """What a run says to people; ``what`` is the name of its loss."""
    said = [
        f"{result.adapter}: {result.steps} steps, {what} {result.loss:.4f}"
        + ("" if result.eval_loss is None else f", evaluation {what} {result.eval_loss:.4f}"),
        f"trainable parameters: {result.trainable_parameters:,} ({result.trainable_share:.2%} of all)",
        f"{result.tokens_per_s:.0f} tokens/s, {result.seconds:.0f} s",
    ]
    if result.truncation is not None:
        cut = result.truncation.record()
        ranks = f"{cut['mean_rank']} on average, {cut['largest_rank']} at most"
        said.append(f"rank {cut['rank_before']} cut to {ranks}: {cut['parameters']:,} parameters left")
        said.append(f"{what} {cut['loss_before']:.4f} before the cut, {cut['loss_after']:.4f} after it")
    if result.earlier_answers:
        said.append(
            f"conversations: the last answer of each was learned, {result.earlier_answers} earlier ones were only read"
        )
    for kind, used, skipped in (
        ("rows", result.rows_used, result.rows_skipped),
        ("evaluation rows", result.eval_rows_used, result.eval_rows_skipped),
    ):
        if skipped:
            said.append(f"{kind}: {used} used, {len(skipped)} skipped")
            said += [f"  line {problem.line}: {problem.reason}" for problem in skipped[:_SHOWN]]
            if len(skipped) > _SHOWN:
                said.append(f"  and {len(skipped) - _SHOWN} more; --json names all")
    return said


def _rows(used: int, skipped: tuple[Problem, ...]) -> dict[str, object]:
    return {"used": used, "skipped": [{"line": problem.line, "reason": problem.reason} for problem in skipped]}


def _read_rank(text: str | None, default: int) -> int:
    if text is None or text == _AUTO:
        return default if text is None else AUTO_RANK
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(f"--rank is {text!r}, expected a whole number from 1, or {_AUTO}") from error
