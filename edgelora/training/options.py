"""What a training run is asked for: one list of options for the commands, Python and files of options.

TrainOptions -> Recipe

What was left open is filled in on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from edgelora.data.template_options import Day, TemplateVariables
from edgelora.errors import ConfigError
from edgelora.option import Option, join_names, read_text, split_names
from edgelora.training.first_adapter import FirstAdapter, read_first_adapter
from edgelora.training.recipe import ALL_LINEAR, AUTO_RANK, CLASS_WEIGHTS, INITS, Recipe

AUTO = "auto"
TRAINED_TASKS = ("generation", "classification", "tagging", "embedding")
_DEFAULT_RANK = 8
_DEFAULT_ENERGY = 0.99


def read_rank(text: str) -> int | str:
    """A width, or ``auto``; raises ConfigError for anything else."""
    try:
        return text if text == AUTO else int(text)
    except ValueError as error:
        raise ConfigError(f"--rank is {text!r}, expected a whole number from 1, or {AUTO}") from error


MaxSteps = Annotated[int | None, Option("Stop after so many steps; wins over --epochs.")]
Epochs = Annotated[int, Option("Times that every row is seen.")]
BatchSize = Annotated[int, Option("Rows that run at once.")]
LearningRate = Annotated[float, Option("The highest learning rate, reached after the warmup.")]


@dataclass(frozen=True)
class TrainOptions:
    """How ``train`` learns; whatever is None follows from the rest, or from the adapter of ``start_from``."""

    eval_data: Annotated[
        Path | None,
        Option("Rows held out; the adapter with the lowest loss on them is the one that is kept."),
    ] = None
    rank: Annotated[
        int | str | None,
        Option(
            "Width of the adapter; its size and its cost on the device grow with it. "
            f"auto trains {AUTO_RANK} wide and keeps what counts.  [default: {_DEFAULT_RANK}]",
            metavar="N|auto",
            kind=str | None,
            parse=read_rank,
            write=str,
        ),
    ] = None
    rank_energy: Annotated[
        float | None,
        Option(f"Share of the squared singular values that --rank auto keeps.  [default: {_DEFAULT_ENERGY}]"),
    ] = None
    alpha: Annotated[float | None, Option("Strength: scaling is alpha / rank.  [default: 2 * rank]")] = None
    target_modules: Annotated[
        tuple[str, ...] | None,
        Option(
            f"{ALL_LINEAR}, or names with commas between, as q_proj,v_proj.  [default: {ALL_LINEAR}]",
            kind=str | None,
            parse=split_names,
            write=join_names,
        ),
    ] = None
    init: Annotated[
        str | None,
        Option(
            "zero: the first answers are the base's; residual: the factors start at what rounding took away, "
            "which suits coarse grids.  [default: zero]"
        ),
    ] = None
    share_a: Annotated[
        bool,
        Option(
            "One A for q, k and v and one for gate and up: a third less of its cost on the device, a little less fit.",
            names=("--share-a",),
        ),
    ] = False
    activated: Annotated[
        bool,
        Option(
            "An activated adapter (aLoRA): it acts from its invocation in a prompt on, and a device goes on from the "
            "KV cache of what comes before, whichever adapter is switched to.",
            names=("--activated",),
        ),
    ] = False
    invocation: Annotated[
        str | None,
        Option(
            "Words in every prompt from which an activated adapter acts.  "
            "[default: what the chat template opens an answer with]",
            metavar="TEXT",
        ),
    ] = None
    start_from: Annotated[
        Path | None,
        Option(
            "Start from an adapter of the same base and grid; rank, alpha and modules are its own.",
            names=("--from",),
            metavar="ADAPTER_DIR",
        ),
    ] = None
    task: Annotated[
        str | None,
        Option(
            "What is learned: generation writes answers, classification labels texts, tagging labels words, "
            "embedding puts texts that belong together near each other.  [default: what the model is for]",
            metavar="|".join(TRAINED_TASKS),
        ),
    ] = None
    class_weights: Annotated[
        str,
        Option(
            "balanced counts every label alike, however few rows it has, which suits skewed data; none counts every "
            "row alike. Of classification and tagging.",
            metavar="|".join(CLASS_WEIGHTS),
        ),
    ] = CLASS_WEIGHTS[0]
    max_steps: MaxSteps = None
    epochs: Epochs = 1
    batch_size: BatchSize = 8
    accumulate: Annotated[
        int, Option("Batches that make one step together: the step of a larger batch in the memory of a smaller one.")
    ] = 1
    learning_rate: LearningRate = 1e-3
    head_learning_rate: Annotated[
        float | None,
        Option("The same of a head, which starts from nothing.  [default: 10 * learning rate]"),
    ] = None
    schedule: Annotated[str, Option("cosine, linear or constant, after the warmup.")] = "cosine"
    warmup: Annotated[int, Option("Steps over which the learning rate rises from zero.")] = 5
    dropout: Annotated[
        float,
        Option(
            "Share of the values left out at random in each step, before the factors and where the model has dropout: "
            "few rows can then be learned for longer before they are known by heart."
        ),
    ] = 0.0
    max_length: Annotated[int, Option("Most tokens of a row; longer rows are left out and counted.")] = 512
    precision: Annotated[
        str, Option("float32 is exact; bfloat16 is faster where the processor multiplies it natively.")
    ] = "float32"
    raw: Annotated[bool, Option("Leave the chat template out; run the adapter with --raw too.", names=("--raw",))] = (
        False
    )
    template_variables: TemplateVariables = None
    date: Day = None
    seed: Annotated[int, Option("The same seed gives the same adapter.")] = 0
    eval_every: Annotated[
        int | None,
        Option("Steps between evaluations on --eval-data; 0 means at the end alone.  [default: 4 times a run]"),
    ] = None
    patience: Annotated[
        int | None,
        Option(
            "Stop after so many evaluations in a row without a lower loss; needs --eval-data. "
            "The learning rate falls as for the whole run.  [default: never stop early]"
        ),
    ] = None
    report_to: Annotated[
        str | None,
        Option(
            "Show each step in tensorboard (below ./runs) or wandb as it is taken; both are packages of their own. "
            "history.jsonl beside the adapter has the same figures in any case.",
            metavar="tensorboard|wandb",
        ),
    ] = None
    save_every: Annotated[int, Option("Steps between checkpoints in ADAPTER_DIR/.checkpoint; 0 means none.")] = 50
    resume: Annotated[
        bool, Option("Go on from the checkpoint of a run that was stopped, if there is one.", names=("--resume",))
    ] = False
    overwrite: Annotated[bool, Option("Replace the adapter that ADAPTER_DIR holds.", names=("--overwrite",))] = False
    low_memory: Annotated[
        bool,
        Option(
            "Keep the base packed and compute layers twice: less memory, slower, the same adapter.",
            names=("--low-memory",),
        ),
    ] = False

    default_init: ClassVar[str] = INITS[0]

    def __post_init__(self) -> None:
        read_text(self)
        if self.task is not None and self.task not in TRAINED_TASKS:
            raise ConfigError(f"--task is {self.task!r}, expected one of {', '.join(TRAINED_TASKS)}")

    def recipe(self) -> Recipe:
        """What decides the adapter; what was not asked for is filled in, from ``start_from`` where that is given.

        Raises ConfigError for options that exclude each other and AdapterError when that adapter cannot be read.
        """
        source = self._read_source()
        rank = self.rank if self.rank is not None else _DEFAULT_RANK if source is None else source.rank
        width = AUTO_RANK if isinstance(rank, str) else rank
        alpha = 2.0 * width if source is None else source.alpha
        targets = (ALL_LINEAR,) if source is None else source.target_modules
        init = self.default_init if source is None else INITS[0]
        return Recipe(
            rank=width,
            alpha=alpha if self.alpha is None else self.alpha,
            target_modules=targets if self.target_modules is None else self.target_modules,
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            learning_rate=self.learning_rate,
            head_learning_rate=self.head_learning_rate,
            schedule=self.schedule,
            warmup=self.warmup,
            dropout=self.dropout,
            max_length=self.max_length,
            seed=self.seed,
            precision=self.precision,
            raw=self.raw,
            template_variables=self.template_variables or {},
            date=self.date,
            init=init if self.init is None else self.init,
            share_a=self.share_a,
            class_weights=self.class_weights,
            activated=self.activated,
            invocation=self.invocation,
            rank_auto_energy=self._energy(),
        )

    def _read_source(self) -> FirstAdapter | None:
        if self.start_from is None:
            return None
        if self.init is not None or self.rank == AUTO:
            other = "--rank auto" if self.init is None else "--init"
            raise ConfigError(f"--from and {other} exclude each other: the adapter brings its factors and ranks along")
        return read_first_adapter(self.start_from)

    def _energy(self) -> float | None:
        if self.rank == AUTO:
            return _DEFAULT_ENERGY if self.rank_energy is None else self.rank_energy
        if self.rank_energy is not None:
            raise ConfigError("--rank-energy says what --rank auto keeps; give --rank auto as well")
        return None


@dataclass(frozen=True)
class RecoverOptions(TrainOptions):
    """How ``recover`` learns: the same options, where other values serve."""

    eval_data: Annotated[
        Path | None,
        Option("Text or rows held out; the adapter that is nearest to the float model on them is kept."),
    ] = None
    init: Annotated[
        str | None,
        Option(
            "residual: the factors start at what rounding took away; zero: the first answers are those of the "
            "rounded base.  [default: residual]"
        ),
    ] = None
    batch_size: BatchSize = 4
    max_length: Annotated[int, Option("Tokens of a window of text; longer rows are left out and counted.")] = 256

    default_init: ClassVar[str] = INITS[1]
