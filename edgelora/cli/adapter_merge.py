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
from edgelora.adapter.merge_options import MergeOptions
from edgelora.artifact.changing import check_outside
from edgelora.cli.flags import spread
from edgelora.cli.output import Json, emit, note

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
    as_json: Json = False,
) -> None:
    """Merge adapters into one, as PEFT's add_weighted_adapter does; its receipt names its parents.

    Example: edgelora adapter merge adapters/legal:0.6 adapters/medical:0.4 --method ties --density 0.5 -o both
    """
    check_outside(out)
    result = merge_folders([Weighed(*split_weight(text)) for text in adapters], out, options)
    if not result.has_receipt:
        note(f"no parent has a receipt, so {out} has none: `edgelora adapter receipt MODEL {out}` writes one")
    emit(as_json, dataclasses.asdict(result) | {"adapter": str(out)}, _lines(result))


def _lines(result: MergeResult) -> list[str]:
    parents = " + ".join(f"{item['weight']:g} {item['name']}" for item in result.parents)
    return [
        f"{result.adapter}: {parents} by {result.method}, rank {result.rank} in {result.modules} modules",
        f"its delta is {100 * result.relative_error:.2f} % off the weighted sum",
    ]
