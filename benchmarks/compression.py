"""``python -m benchmarks.compression``: the demonstration's adapters with fewer bytes, each on its own task.

Knows nothing about how ranks are cut or factors are rounded. What is stored is what is measured. Beside what is lost
stands its standard error, over the same rows drawn again: two hundred rows cannot tell a fifth of a point.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tqdm import tqdm

from benchmarks.machine import cpu_name
from benchmarks.merging import score
from edgelora.adapter.narrow import STORES, narrow_file
from edgelora.adapter.truncate import truncate, write_adapter
from edgelora.evaluation.score import Answers
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
_DRAWS = 1000
_NOTHING: Mapping[str, Sequence[tuple[str, str]]] = {"labels": (), "texts": ()}


def main() -> None:
    """Write ``results/compression.json`` and ``.md``, or what ``--output`` says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compression", description=main.__doc__)
    parser.add_argument("--demo", type=Path, default=Path("build/demo"), help="what `make demo` wrote")
    parser.add_argument("--work", type=Path, default=Path("build/compression"), help="where the results are kept")
    parser.add_argument(
        "--limit", type=int, default=None, help="rows of a task; those of the demonstration if left out"
    )
    parser.add_argument("--tasks", nargs="+", choices=ADAPTERS, default=list(ADAPTERS))
    parser.add_argument("--stores", action="store_true", help="the three stores alone, no ranks cut")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, default=RESULTS / "compression.json")
    options = parser.parse_args()
    artifact, folders = options.demo / "artifact", trained_folders(options.demo)
    ways = [(share, store) for share, store in WAYS if share == 1 or not options.stores]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.tasks}
    with load(artifact, threads=options.threads) as model:
        for name in options.tasks:
            limit, whole = options.limit or LIMITS[name], None
            for share, store in tqdm(ways, name, unit="way"):
                place = options.work / f"{name}-{share:g}-{store}"
                if not place.exists():
                    compress(folders[name], place, share, store)
                figures, answers = measure(model, artifact, options.demo / "data", name, place, limit)
                whole = whole or answers
                found[name].append({**figures, "standard_error": standard_error(whole, answers, figures["metric"])})
    result = {
        "model": read_manifest(artifact).model.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "ways": [{"share": share, "store": store} for share, store in ways],
        "adapters": found,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.output, json.dumps(result, indent=1) + "\n")
    page = write_page(result)
    write_atomically(options.output.with_suffix(".md"), page)
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


def measure(
    model: Model, artifact: Path, data: Path, name: str, place: Path, limit: int
) -> tuple[dict[str, Any], Answers]:
    """Bytes of the factors, and how its own task goes with them."""
    model.load_adapter(_NAME, place)
    figures, answers = score(model, artifact, data, name, _NAME, limit)
    return {"bytes": (place / WEIGHTS_FILE).stat().st_size, "rank": read_adapter(place).rank, **figures}, answers


def standard_error(whole: Answers, other: Answers, metric: str | None) -> float | None:
    """That of the difference of a figure, by drawing the rows again with replacement."""
    if metric is None:
        return None
    rng, kind = np.random.default_rng(0), "labels" if whole.labels else "texts"
    pairs = [(getattr(answers, kind)) for answers in (whole, other)]
    differences = []
    for _ in range(_DRAWS):
        drawn = rng.integers(len(pairs[0]), size=len(pairs[0]))
        values = [Answers(**{**_NOTHING, kind: [rows[at] for at in drawn]}).figures(0)[metric] for rows in pairs]
        differences.append(float(values[0] or 0) - float(values[1] or 0))
    return float(np.std(differences))


def write_page(result: Mapping[str, Any]) -> str:
    """Markdown: one table, the whole adapter first."""
    machine, adapters = result["machine"], result["adapters"]
    counts = " and ".join(f"{found[0]['n']} rows of {name}" for name, found in adapters.items())
    metrics = {name: found[0]["metric"] for name, found in adapters.items()}
    heads = [f"{name}: bytes, loss, {metrics[name]} (points lost ± standard error)" for name in adapters]
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
    error = f" ± {100 * found['standard_error']:.1f}" if found is not whole else ""
    return f"{share}, {found['loss']:.3f}, {100 * found['score']:.1f} % ({lost:+.1f}{error})"


if __name__ == "__main__":
    main()
