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
        Path,
        typer.Argument(metavar="IN", help="A folder of PEFT or mlx-lm, or a GGUF of llama.cpp.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="X.gguf, or a folder for PEFT and EdgeLoRA.", show_default=False)
    ],
    base: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|ARTIFACT",
            help="The base: HF folder, hub id or GGUF file; where its widths suffice an artifact.  "
            "[default: as IN names it, for GGUF]",
        ),
    ] = None,
    initial: Annotated[
        Path | None,
        typer.Option(metavar="ADAPTER_DIR", help="The same adapter before its training, of PiSSA, CorDA and the like."),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Cut every module to this rank, and tell the error.  [default: whatever is exact]"),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="float32|float16|int8", help="What its factors are rounded to.  [default: as they are]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn an adapter from one kind into another: PEFT folders and GGUF files of llama.cpp, without loss.

    VeRA, LoHa, LoKr, AdaLoRA, QALoRA, PiSSA, OLoRA, CorDA, LoRA-GA and mlx-lm's adapters become plain LoRA; projections
    that are fused in the adapter or in the base alone are split or stacked. DoRA becomes what the slots of one artifact
    take, which --base names.

    Example: edgelora adapter convert legal -o legal.gguf --base SmolLM2-135M
    """
    from edgelora.adapter.convert import convert as convert_adapter  # what reads bases, which no neighbour asks for
    from edgelora.artifact.convert_adapters import weights_of

    check_outside(out)
    done = convert_adapter(adapter, out, base, store, initial=initial, rank=rank, weights_of=weights_of)
    files = [out] if out.is_file() else [path for path in out.iterdir() if path.is_file()]
    count = sum(path.stat().st_size for path in files)
    told = {"adapter": str(out), "modules": done.modules, "rank": done.rank, "bytes": count, "notes": list(done.notes)}
    told["relative_error"] = float(f"{done.relative_error:.6g}")
    emit(as_json, told, [f"{out}: {done.modules} modules, rank {done.rank}, {size(count)}", *done.notes])
