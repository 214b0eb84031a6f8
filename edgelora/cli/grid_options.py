"""The options that choose a grid, the same words in every command that takes them.

Knows nothing about how a grid is made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from edgelora.errors import ConfigError
from edgelora.grid.make import QUANT_LABELS
from edgelora.torch_model.choose_grid import GridChoice, is_grid_file

Quant = Annotated[
    str | None,
    typer.Option(
        metavar="LABEL|GRID",
        help=f"{', '.join(QUANT_LABELS)}, or a grid file of `edgelora quantize`, which decides all that follows.",
    ),
]
BlockSize = Annotated[
    int | None, typer.Option(help="Weights that share one scale: 16, 32, 64, 128 or 256.  [default: 32]")
]
Symmetric = Annotated[
    bool | None, typer.Option("--symmetric/--asymmetric", help="Default: int8 symmetric, int4 and int2 not.")
]
QuantMethod = Annotated[
    str | None,
    typer.Option(
        metavar="METHOD",
        help="How codes are chosen. rtn: nearest on a range that holds every weight. ranges: nearest on the range of "
        "least error, weighed by how large each input is on built-in text. gptq: columns make up for each other's "
        "errors; loses least, takes minutes.  [default: ranges for int4, else rtn]",
    ),
]
EmbeddingBits = Annotated[
    int | None,
    typer.Option(
        help="4 or 8 bits for the embedding and the head.  [default: 8 with int4, else as --quant says, at least 4]"
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        metavar="DATA.jsonl",
        help="Rows that tell gptq and the budgets which weights matter most; built-in text serves gptq without them.",
    ),
]
BudgetMb = Annotated[
    float | None,
    typer.Option(help="Mixed precision: widen the most sensitive linears above --quant up to so many MB of weights."),
]
BudgetBits = Annotated[
    float | None,
    typer.Option(help="The same, up to so many bits for a weight of the decoder's linears, scales counted."),
]


def grid_choice(
    quant: str,
    block_size: int | None,
    symmetric: bool | None,
    method: str | None,
    calibration: Path | None,
    budget_mb: float | None,
    budget_bits: float | None,
    embedding_bits: int | None = None,
) -> GridChoice:
    """The options as one choice; raises ConfigError where a grid file has decided already."""
    if is_grid_file(quant):
        given = {
            "--block-size": block_size,
            "--symmetric": symmetric,
            "--quant-method": method,
            "--calibration": calibration,
            "--budget-mb": budget_mb,
            "--budget-bits": budget_bits,
            "--embedding-bits": embedding_bits,
        }
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            raise ConfigError(f"--quant {quant} is a grid file and decides {', '.join(extra)}; leave that out")
    return GridChoice(
        quant=quant,
        block_size=32 if block_size is None else block_size,
        symmetric=symmetric,
        method=method,
        budget_mb=budget_mb,
        calibration=calibration,
        budget_bits=budget_bits,
        embedding_bits=embedding_bits,
    )


def grid_bar(names: Sequence[str]) -> Iterable[str]:
    """A bar on standard error over rows that calibrate and tensors that are rounded; none where that is no terminal."""
    bar: Iterable[str] = tqdm(names, desc="grid", file=sys.stderr, disable=None)
    return bar
