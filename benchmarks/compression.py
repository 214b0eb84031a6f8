"""``python -m benchmarks.compression``: the demonstration's adapters with fewer bytes, each on its own task.

Knows nothing about how ranks are cut or factors are rounded. What is stored is what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from tqdm import tqdm

from benchmarks.machine import cpu_name
from benchmarks.merging import score
from edgelora.adapter.narrow import STORES, narrow_file
from edgelora.adapter.truncate import truncate, write_adapter
from edgelora_runtime import Model, load
from edgelora_runtime.adapter import WEIGHTS_FILE, read_adapter
from edgelora_runtime.adapter_config import CONFIG_FILE, read_fields
from edgelora_runtime.files import replace_folder, write_atomically
from edgelora_runtime.manifest import read_manifest
from examples.demo import ADAPTERS, LIMITS, trained_folders

RESULTS = Path(__file__).parent / "results"
_FLOATS, _HALVES, _CODES = STORES
# The share of the bytes that cutting ranks leaves, and what is left is stored as.
WAYS = ((1.0, _FLOATS), (1.0, _HALVES), (1.0, _CODES), (0.5, _FLOATS), (0.5, _CODES), (0.25, _FLOATS))
_NAME = "compressed"


def main() -> None:
    """Write ``results/compression.json`` and ``.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compression", description=main.__doc__)
    parser.add_argument("--demo", type=Path, default=Path("build/demo"), help="what `make demo` wrote")
    parser.add_argument("--work", type=Path, default=Path("build/compression"), help="where the results are kept")
    parser.add_argument(
        "--limit", type=int, default=None, help="rows of a task; those of the demonstration if left out"
    )
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    artifact, folders = options.demo / "artifact", trained_folders(options.demo)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ADAPTERS}
    with load(artifact, threads=options.threads) as model:
        for name in ADAPTERS:
            limit = options.limit or LIMITS[name]
            for share, store in tqdm(WAYS, name, unit="way"):
                place = options.work / f"{name}-{share:g}-{store}"
                if not place.exists():
                    compress(folders[name], place, share, store)
                found[name].append(measure(model, artifact, options.demo / "data", name, place, limit))
    result = {
        "model": read_manifest(artifact).model.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "ways": [{"share": share, "store": store} for share, store in WAYS],
        "adapters": found,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_atomically(options.results / "compression.json", json.dumps(result, indent=1) + "\n")
    page = write_page(result)
    write_atomically(options.results / "compression.md", page)
    print(page)


def compress(folder: Path, place: Path, share: float, store: str) -> None:
    """Cut ranks by one threshold until ``share`` of the bytes is left, then round what is left to ``store``."""
    whole = read_adapter(folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    with replace_folder(place) as fresh:
        if share < 1:
            cut = truncate(whole, max_bytes=int(share * (folder / WEIGHTS_FILE).stat().st_size))
            write_adapter(fresh, cut, read_fields(folder))
        else:
            for name in (WEIGHTS_FILE, CONFIG_FILE):
                shutil.copyfile(folder / name, fresh / name)
        if store != _FLOATS:
            narrow_file(fresh / WEIGHTS_FILE, store)


def measure(model: Model, artifact: Path, data: Path, name: str, place: Path, limit: int) -> dict[str, Any]:
    """Bytes of the factors, and how its own task goes with them."""
    model.load_adapter(_NAME, place)
    return {
        "bytes": (place / WEIGHTS_FILE).stat().st_size,
        "rank": read_adapter(place).rank,
        **score(model, artifact, data, name, _NAME, limit),
    }


def write_page(result: Mapping[str, Any]) -> str:
    """Markdown: one table, the whole adapter first."""
    machine, adapters = result["machine"], result["adapters"]
    counts = " and ".join(f"{found[0]['n']} rows of {name}" for name, found in adapters.items())
    metrics = {name: found[0]["metric"] for name, found in adapters.items()}
    heads = [f"{name}: bytes, loss, {metrics[name]} (points lost)" for name in adapters]
    lines = [
        f"# Smaller adapters on {result['model']}, {result['date']}",
        "",
        f"{machine['cpu']}, onnxruntime {machine['onnxruntime']} (`python -m benchmarks.compression`). Scores over",
        f"{counts}, held out; bytes are those of the file of factors, as a share of the whole adapter's.",
        "",
        "| ranks cut to | stored as | " + " | ".join(heads) + " |",
        "|---|---|" + "---|" * len(heads),
    ]
    for index, way in enumerate(result["ways"]):
        cells = [_cell(found[index], found[0]) for found in adapters.values()]
        kept = "whole" if way["share"] == 1 else f"{100 * way['share']:g} % of the bytes"
        lines.append(f"| {kept} | {way['store']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(found: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    share = f"{100 * found['bytes'] / whole['bytes']:.0f} %"
    if found["score"] is None:
        return f"{share}, {found['loss']:.3f}, -"
    lost = 100 * (whole["score"] - found["score"])
    return f"{share}, {found['loss']:.3f}, {100 * found['score']:.1f} % ({lost:+.1f})"


if __name__ == "__main__":
    main()
