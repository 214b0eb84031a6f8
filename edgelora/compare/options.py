"""What a comparison is asked for: the options of ``edgelora compare`` beside the base and its rows.

CompareOptions -> Settings
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edgelora.compare.arms import Settings
from edgelora.errors import ConfigError
from edgelora.option import Option
from edgelora.torch_model.choose_grid import BlockSize, Symmetric
from edgelora.training.options import TRAINED_TASKS, BatchSize, Epochs, LearningRate, MaxSteps
from edgelora.training.recipe import Recipe

_NO_METHOD = "none"


def read_methods(given: Sequence[str]) -> tuple[str, ...]:
    """The better grids; ``none`` alone is none of them."""
    return () if list(given) == [_NO_METHOD] else tuple(given)


def read_grid_files(given: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """``NAME=GRID`` texts; raises ConfigError for any other form and for a file that is not there."""
    found = []
    for text in given:
        name, separator, path = text.partition("=")
        if not separator or not name or not path:
            raise ConfigError(f"--grid is {text!r}, expected NAME=GRID.safetensors")
        if not Path(path).is_file():
            raise ConfigError(
                f"--grid {name}: {path} is not a file; expected a grid file, as `edgelora quantize` writes"
            )
        found.append((name, Path(path)))
    return tuple(found)


def read_starts(given: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """``NAME=ADAPTER_DIR`` texts; raises ConfigError for any other form."""
    found = []
    for text in given:
        name, separator, path = text.partition("=")
        if not separator or not name or not path:
            raise ConfigError(f"--from is {text!r}, expected NAME=ADAPTER_DIR, where NAME is that of a --grid")
        found.append((name, Path(path)))
    return tuple(found)


def read_seeds(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between; raises ConfigError for anything else."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--seeds is {text!r}, expected whole numbers with commas between, such as 0,1,2") from error


@dataclass(frozen=True)
class CompareOptions:
    """Which ways to ship a model are compared, and how their adapters learn."""

    quant: Annotated[str, Option("int8, int4 or int2: the grid of all quantized arms.")] = "int4"
    block_size: BlockSize = None
    symmetric: Symmetric = None
    methods: Annotated[
        tuple[str, ...],
        Option(
            "A better grid beside --quant, with adapters trained on it: gptq, or none.  [default: gptq]",
            names=("--method",),
            kind=list[str] | None,
            parse=read_methods,
        ),
    ] = ("gptq",)
    grid_files: Annotated[
        tuple[tuple[str, Path], ...],
        Option(
            "A grid file of `edgelora quantize` to compare as well; may be repeated.",
            names=("--grid",),
            metavar="NAME=GRID",
            kind=list[str] | None,
            parse=read_grid_files,
        ),
    ] = ()
    starts: Annotated[
        tuple[tuple[str, Path], ...],
        Option(
            "The adapters of that --grid start from one that `edgelora recover` made on it; may be repeated.",
            names=("--from",),
            metavar="NAME=ADAPTER_DIR",
            kind=list[str] | None,
            parse=read_starts,
        ),
    ] = ()
    seeds: Annotated[
        tuple[int, ...],
        Option(
            "One adapter for each, on each grid.  [default: 0,1,2]",
            metavar="N,N,...",
            kind=str | None,
            parse=read_seeds,
        ),
    ] = (0, 1, 2)
    rank: Annotated[int, Option("Width of the adapters; alpha is twice that.")] = 8
    max_steps: MaxSteps = None
    epochs: Epochs = 1
    batch_size: BatchSize = 8
    learning_rate: LearningRate = 1e-3
    max_length: Annotated[int, Option("Tokens; longer rows are not learned from.")] = 512
    limit: Annotated[int | None, Option("Answer the first N rows alone; the loss is still that of all.", least=1)] = (
        None
    )
    task: Annotated[
        str | None,
        Option(
            "What is learned, as for `edgelora train`.  [default: what the model is for]",
            metavar="|".join(TRAINED_TASKS),
        ),
    ] = None
    decode: Annotated[bool, Option("Measure the time of a token.", names=("--decode/--no-decode",))] = True

    def settings(self, model: str, data: Path, eval_data: Path, threads: int | None) -> Settings:
        """The comparison of these options; raises ConfigError for what cannot be."""
        recipe = Recipe(
            rank=self.rank,
            alpha=2.0 * max(self.rank, 1),
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            max_length=self.max_length,
        )
        return Settings(
            model=model,
            data=data,
            eval_data=eval_data,
            options=recipe,
            seeds=self.seeds,
            quant=self.quant,
            block_size=32 if self.block_size is None else self.block_size,
            symmetric=self.symmetric,
            methods=self.methods,
            grid_files=self.grid_files,
            starts=self.starts,
            limit=self.limit,
            threads=threads,
            decode=self.decode,
            task=self.task,
        )
