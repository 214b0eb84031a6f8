"""``edgelora adapter convert``: an adapter of another tool as a PEFT folder, or as that tool reads it.

options -> exit code, lines or JSON
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelora.artifact.changing import check_outside
from edgelora.cli.output import Json, emit, size


def convert(
    adapter: Annotated[
        Path, typer.Argument(metavar="IN", help="A PEFT folder or a GGUF adapter of llama.cpp.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="X.gguf, or a folder for PEFT and EdgeLoRA.", show_default=False)
    ],
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The base: HF folder, hub id or GGUF file.  [default: as IN names it]"),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="float32|float16|int8", help="What its factors are rounded to.  [default: as they are]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn an adapter from one kind into another: PEFT folders and GGUF files of llama.cpp, without loss.

    Example: edgelora adapter convert legal -o legal.gguf --base SmolLM2-135M
    """
    from edgelora.adapter.convert import convert as convert_adapter  # what reads bases, which no neighbour asks for

    check_outside(out)
    done = convert_adapter(adapter, out, base, store)
    files = [out] if out.is_file() else [path for path in out.iterdir() if path.is_file()]
    count = sum(path.stat().st_size for path in files)
    told = {"adapter": str(out), "modules": done.modules, "rank": done.rank, "bytes": count, "notes": list(done.notes)}
    emit(as_json, told, [f"{out}: {done.modules} modules, rank {done.rank}, {size(count)}", *done.notes])
