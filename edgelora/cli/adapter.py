"""``edgelora adapter``: add, remove and list the adapters of a finished artifact.

Knows nothing about how an artifact is changed safely.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgelora.adapter.receipt import read_receipt
from edgelora.adapter.store import add_adapter, remove_adapter, split_assignment
from edgelora.cli.output import Json, emit, size, table
from edgelora_runtime.manifest import read_manifest

app = typer.Typer(rich_markup_mode=None)
Artifact = Annotated[Path, typer.Argument(help="Folder written by `edgelora export`.", show_default=False)]


@app.command()
def add(
    artifact: Artifact,
    adapter: Annotated[str, typer.Argument(metavar="NAME=ADAPTER_DIR", help="Its name and its PEFT folder.")],
    as_json: Json = False,
) -> None:
    """Add an adapter to an artifact; the base is not touched."""
    name, folder = split_assignment(adapter)
    info = add_adapter(artifact, name, folder)
    emit(as_json, {"added": dataclasses.asdict(info)}, [f"added {info.name} (rank {info.rank}) to {artifact}"])


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
    found = []
    for info in manifest.adapters:
        count = sum(item.bytes for file, item in manifest.files.items() if file.startswith(f"{info.path}/"))
        receipt = read_receipt(artifact / info.path)
        found.append({**dataclasses.asdict(info), "bytes": count, "receipt": receipt is not None})
    rows = [("name", "rank", "size", "receipt")]
    rows += [(a["name"], str(a["rank"]), size(a["bytes"]), "yes" if a["receipt"] else "no") for a in found]
    emit(as_json, {"adapters": found}, table(rows) if found else [f"{artifact} has no adapters"])
