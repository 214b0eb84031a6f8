"""``edgelora adapter``: add, remove and list an artifact's adapters; truncate or convert one, merge or compare several.

options -> exit code, lines or JSON
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgelora.adapter.page import PAGE_FILE, headline, write_page
from edgelora.adapter.receipt import carry_over
from edgelora.adapter.task import find_task
from edgelora.adapter.truncate import truncate, write_adapter
from edgelora.artifact.about import About, read_about
from edgelora.artifact.changing import check_outside
from edgelora.artifact.convert_adapters import plain_for
from edgelora.artifact.sharing import shared_bytes
from edgelora.artifact.store import add_adapter, remove_adapter, split_assignment
from edgelora.checkpoint.task import TASK_WORDS, find_task_word
from edgelora.cli.adapter_convert import convert
from edgelora.cli.adapter_diff import diff
from edgelora.cli.adapter_interference import interference
from edgelora.cli.adapter_merge import merge
from edgelora.cli.output import Json, emit, size, table
from edgelora.errors import ConfigError
from edgelora_runtime.adapter import WEIGHTS_FILE, read_adapter
from edgelora_runtime.adapter_config import read_fields
from edgelora_runtime.files import replace_folder
from edgelora_runtime.manifest import AdapterInfo, Manifest, read_manifest
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.receipt import RECEIPT_FILE, Receipt, read_receipt, write_receipt

app = typer.Typer(rich_markup_mode=None)
for _command in (merge, convert, diff, interference):
    app.command()(_command)
Artifact = Annotated[Path, typer.Argument(help="Folder written by `edgelora export`.", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="ADAPTER_DIR", help="A PEFT folder.", show_default=False)]


@app.command()
def add(
    artifact: Artifact,
    adapter: Annotated[
        str, typer.Argument(metavar="NAME=ADAPTER_DIR", help="Its name and its PEFT folder, or GGUF file.")
    ],
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Replay a probe of the receipt on the artifact first.")
    ] = True,
    store: Annotated[
        str, typer.Option(metavar="float32|float16|int8", help="What its factors are rounded to, on every device.")
    ] = "float32",
    share: Annotated[
        str | None,
        typer.Option(metavar="a|b", help="Factors that other adapters have too: stored once for all of them."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Labels of its head in order, where its folder does not name them."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="For people: what it is called.")] = None,
    description: Annotated[str | None, typer.Option(help="For people: what it does, in a sentence.")] = None,
    example: Annotated[list[str] | None, typer.Option(help="A text to give it; may be repeated.")] = None,
    license: Annotated[str | None, typer.Option(help="Its licence, such as apache-2.0.")] = None,
    as_json: Json = False,
) -> None:
    """Add an adapter to an artifact; the base is not touched. Its folder's about.json introduces it to people.

    One that is no plain LoRA, or a GGUF file, is converted first, where that loses nothing, as by `adapter convert`.

    Example: edgelora adapter add smol legal=adapters/legal
    """
    name, folder = split_assignment(adapter)
    names = None if labels is None else [label.strip() for label in labels.split(",")]
    about = About(title, description, tuple(example or ()), license)
    with plain_for(artifact, folder) as plain:
        info = add_adapter(artifact, name, plain.path, probe, store, names, about.before(read_about(folder)), share)
    told = f"rank {info.rank}" + ("" if info.head is None else f", {len(info.head.labels)} labels")
    lines = [f"added {info.name} ({told}) to {artifact}", *plain.steps]
    if share is not None:
        lines.append(_shared_line(read_manifest(artifact), info, share))
    emit(as_json, {"added": dataclasses.asdict(info), "converted": list(plain.steps)}, lines)


@app.command()
def remove(
    artifact: Artifact,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `edgelora adapter list` shows it.")],
    as_json: Json = False,
) -> None:
    """Remove an adapter from an artifact."""
    info = remove_adapter(artifact, name)
    emit(as_json, {"removed": dataclasses.asdict(info)}, [f"removed {info.name} from {artifact}"])


@app.command("list")
def show(artifact: Artifact, as_json: Json = False) -> None:
    """List the adapters of an artifact."""
    manifest = read_manifest(artifact)
    files_of = manifest.files_by_adapter()
    found: list[dict[str, Any]] = []
    for info in manifest.adapters:
        files = files_of[info.name]
        count = sum(manifest.files[file].bytes for file in files)
        shared = shared_bytes(manifest, info)
        # The receipt is listed like every file that an adapter has; reading a thousand takes seconds.
        has_receipt = f"{info.path}/{RECEIPT_FILE}" in files
        found.append({**dataclasses.asdict(info), "bytes": count, "shared_bytes": shared, "receipt": has_receipt})
    rows = [("name", "rank", "size", "receipt")]
    rows += [(a["name"], str(a["rank"]), _size(a, found), "yes" if a["receipt"] else "no") for a in found]
    emit(as_json, {"adapters": found}, table(rows) if found else [f"{artifact} has no adapters"])


def _size(adapter: Mapping[str, Any], adapters: Sequence[Mapping[str, Any]]) -> str:
    """What an adapter takes, and beside it what several take together."""
    if adapter["shared"] is None:
        return size(adapter["bytes"])
    count = sum(item["shared"] == adapter["shared"] for item in adapters)
    return f"{size(adapter['bytes'])} + {size(adapter['shared_bytes'])} of {count}"


def _shared_line(manifest: Manifest, info: AdapterInfo, share: str) -> str:
    if info.shared is None:
        return f"its factors {share.upper()} are too small to be stored apart"
    others = [item.name for item in manifest.adapters if item.shared == info.shared and item.name != info.name]
    told = f"shared with {join_some(others, ', ')}" if others else "which no other adapter has so far"
    return f"its factors {share.upper()} take {size(shared_bytes(manifest, info))} in a file of their own, {told}"


@app.command("truncate")
def cut(
    adapter: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the smaller adapter.", show_default=False)],
    energy: Annotated[float | None, typer.Option(help="Share of all squared singular values to keep, as 0.99.")] = None,
    rank: Annotated[int | None, typer.Option(help="Rank that the modules may have on average.")] = None,
    budget_mb: Annotated[float | None, typer.Option(help="Most MB of the file of factors.")] = None,
    as_json: Json = False,
) -> None:
    """Make an adapter smaller: one threshold over the singular values of all modules; each keeps at least rank 1."""
    given = {"--energy": energy, "--rank": rank, "--budget-mb": budget_mb}
    bound = {option.lstrip("-").replace("-", "_"): value for option, value in given.items() if value is not None}
    if len(bound) != 1:
        raise ConfigError(f"found {len(bound)} of {', '.join(given)}; give exactly one")
    check_outside(out)
    if out.exists():
        raise ConfigError(f"{out} exists; choose another folder")
    before = read_adapter(adapter, with_head=True)
    after = truncate(
        before, energy=energy, rank=rank, max_bytes=None if budget_mb is None else int(budget_mb * 1_000_000)
    )
    receipt = read_receipt(adapter)
    config = read_fields(adapter)
    with replace_folder(out) as fresh:
        write_adapter(fresh, after, config)
        record = carry_over(receipt or Receipt("", ""), fresh, before, after, bound)
        if receipt is not None:
            write_receipt(fresh, record)
            write_page(fresh, record)
    cost: dict[str, Any] = dict(record.truncation or {})
    cost |= {key: (folder / WEIGHTS_FILE).stat().st_size for key, folder in (("bytes_before", adapter), ("bytes", out))}
    ranks = f"mean rank {cost['mean_rank_before']:g} to {cost['mean_rank_after']:g}"
    kept, error = 100 * cost["energy_kept"], 100 * cost["relative_error"]
    lines = [
        f"{out}: {ranks}, {size(cost['bytes_before'])} to {size(cost['bytes'])}",
        f"kept {kept:.2f} % of the energy; the delta is off by {error:.2f} %",
    ]
    emit(as_json, {"adapter": str(out), **cost}, lines)


@app.command("receipt")
def write_new_receipt(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The base: HF folder, hub id or GGUF file.")],
    adapter: Folder,
    quant: Annotated[
        str | None, typer.Option(help="The --quant of the training.  [default: as its old receipt says, else none]")
    ] = None,
    block_size: Annotated[int | None, typer.Option(help="The --block-size of the training.")] = None,
    symmetric: Annotated[bool | None, typer.Option("--symmetric/--asymmetric", help="As in the training.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(TASK_WORDS), help="What the adapter is for.  [default: as its configuration says]"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure an adapter on its base and write receipt.json and receipt.md, for one that was trained elsewhere too."""
    # torch and safetensors, which no other subcommand asks for
    from edgelora.torch_model.open_base import open_base
    from edgelora.training.finish_receipt import make_receipt

    check_outside(adapter)
    if (adapter / PAGE_FILE).exists() and not (adapter / RECEIPT_FILE).exists():
        raise ConfigError(f"{adapter / PAGE_FILE} is there without a {RECEIPT_FILE}, so it is no receipt; move it away")
    make_grid = _grid_maker(adapter, quant, block_size, symmetric)
    checkpoint = open_base(model, find_task(adapter) if task is None else find_task_word(task))
    receipt = make_receipt(checkpoint, adapter, make_grid)
    emit(
        as_json, json.loads(receipt.to_json()), [f"wrote {adapter / 'receipt.json'} and receipt.md", *headline(receipt)]
    )


def _grid_maker(folder: Path, quant: str | None, block_size: int | None, symmetric: bool | None) -> Callable[..., Any]:
    from edgelora.cli.bars import BARS
    from edgelora.torch_model.choose_grid import GridChoice, grid_maker
    from edgelora.torch_model.known_grid import known_choice

    given = GridChoice(quant or "none", block_size, symmetric)
    known = GridChoice("none") if quant is not None else known_choice(read_receipt(folder), folder)
    return grid_maker(given if known.quant == "none" else known, BARS)
