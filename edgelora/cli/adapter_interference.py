"""``edgelora adapter interference``: how much two adapters disturb each other, before anybody ships their blend.

artifact or base, two adapters -> what each loses, as lines or JSON
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgelora.cli.bars import BARS
from edgelora.cli.output import Json, emit
from edgelora.evaluation.ask_adapters import ask_artifact
from edgelora.evaluation.asked import Asked
from edgelora.evaluation.interference import Disturbance
from edgelora_runtime.manifest import MANIFEST_FILE


def interference(
    where: Annotated[
        str, typer.Argument(metavar="ARTIFACT|MODEL", help="An artifact, or the base model itself.", show_default=False)
    ],
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="An adapter of the artifact or a folder, as A or A:0.5.", show_default=False),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.", show_default=False)],
    prompts: Annotated[
        list[Path] | None,
        typer.Option(help="Rows as for training; given twice, A's and B's own.  [default: probes]", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows of each file.")] = 16,
    merged: Annotated[
        Path | None, typer.Option(metavar="ADAPTER_DIR", help="Ask this adapter, merged of both, not their blend.")
    ] = None,
    quant: Annotated[
        str | None, typer.Option(help="The --quant of a base model.  [default: as the receipt of A says, else none]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure what a blend does to each of its adapters: KL between the adapter alone and the blend, on its prompts.

    Example: edgelora adapter interference smol legal:0.5 medical:0.5 --prompts legal.jsonl --prompts medical.jsonl
    """
    asked = Asked(tuple(prompts or ()), limit, merged)
    if (Path(where) / MANIFEST_FILE).is_file() and quant is None:
        found = ask_artifact(Path(where), a, b, asked)
    else:
        from edgelora.api import interference as measure  # what reads base models, which an artifact needs none of

        found = measure(where, a, b, asked, quant=quant, progress=BARS)
    payload = {
        key: {**dataclasses.asdict(item), "share_lost": item.share_lost}
        for key, item in (("a", found.a), ("b", found.b))
    }
    emit(as_json, payload, [_line("A", a, found.a, merged), _line("B", b, found.b, merged)])


def _line(letter: str, name: str, found: Disturbance, merged: Path | None) -> str:
    lost = "" if found.share_lost is None else f" ({100 * found.share_lost:.1f} % of what it does)"
    what = "the blend" if merged is None else str(merged)
    return (
        f"{letter} {name}, {found.prompts} prompts, {found.positions} tokens: {what} is {found.kl:.4g} nats off it"
        f"{lost}, at most {found.largest_kl:.4g}; {100 * found.top_changed:.1f} % of top tokens change"
    )
