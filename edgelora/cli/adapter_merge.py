"""``edgelora adapter merge``: one adapter made of several, by the methods of PEFT and what has come since.

MergeOptions -> MergeResult, lines or JSON
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgelora.adapter.lineage import split_weight
from edgelora.adapter.merge_folders import MergeResult, Weighed, merge_folders
from edgelora.adapter.merge_options import FitOptions, MergeOptions
from edgelora.artifact.changing import check_outside
from edgelora.cli.bars import BARS
from edgelora.cli.flags import spread
from edgelora.cli.output import Json, emit, note
from edgelora.errors import ConfigError

Parents = Annotated[
    list[str],
    typer.Argument(
        metavar="ADAPTER_DIR[:WEIGHT]...", help="PEFT folders; 1 where no weight is said, negative takes away."
    ),
]


@spread
def merge(
    adapters: Parents,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the merged adapter.", show_default=False)],
    options: MergeOptions = MergeOptions(),
    fit: Annotated[
        Path | None,
        typer.Option(
            metavar="ROWS", help="Find the weights layer by layer on these rows, those given being the first."
        ),
    ] = None,
    base: Annotated[str | None, typer.Option(metavar="MODEL", help="The base model, for --fit.")] = None,
    fit_steps: Annotated[int, typer.Option(min=1, help="Steps of --fit, each over all rows.")] = 20,
    fit_limit: Annotated[int, typer.Option(min=1, help="Rows of --fit, the first of its file.")] = 64,
    quant: Annotated[
        str | None, typer.Option(help="The --quant of the base, for --fit.  [default: as the first receipt says]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Merge adapters into one, as PEFT's add_weighted_adapter does; its receipt names its parents.

    Example: edgelora adapter merge adapters/legal:0.6 adapters/medical:0.4 --method ties --density 0.5 -o both
    """
    parents = [split_weight(text) for text in adapters]
    if fit is None:
        if told := [name for name, value in (("--base", base), ("--quant", quant)) if value is not None]:
            raise ConfigError(f"{' and '.join(told)} would change nothing without --fit ROWS; leave it out")
        check_outside(out)
        result = merge_folders([Weighed(*parent) for parent in parents], out, options)
    elif base is None:
        raise ConfigError("--fit reads its rows with the base model; give it with --base MODEL")
    else:
        from edgelora.api import merge_adapters  # torch, which no other merge asks for

        result = merge_adapters(
            parents, out, options, fit=FitOptions(fit, base, fit_steps, fit_limit, quant), progress=BARS
        )
    if not result.has_receipt:
        note(f"no parent has a receipt, so {out} has none: `edgelora adapter receipt MODEL {out}` writes one")
    emit(as_json, dataclasses.asdict(result) | {"adapter": str(out)}, _lines(result))


def _lines(result: MergeResult) -> list[str]:
    fit = result.fit
    weight = "{weight:g} {name}" if fit is None else "{name} (from {weight:g})"
    parents = " + ".join(weight.format(**item) for item in result.parents)
    lines = [
        f"{result.adapter}: {parents} by {result.method}, rank {result.rank} in {result.modules} modules",
        f"its delta is {100 * result.relative_error:.2f} % off the weighted sum",
    ]
    if fit is not None:
        gained = f"loss {fit['loss_before']:.4f} to {fit['loss_after']:.4f} on {fit['rows']} rows"
        lines.append(f"weights by layer in {fit['steps']} steps: {gained}")
    return lines
