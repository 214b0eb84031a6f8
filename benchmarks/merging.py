"""``python -m benchmarks.merging``: the demonstration's two adapters made one by every method, on both of their tasks.

Knows nothing about how a method works. Each merged adapter is put beside both parents in the artifact of ``make demo``;
`interference` is asked on rows that the adapters learned from, before any score is looked at.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnxruntime
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.machine import cpu_name
from edgelora.adapter.merge_folders import Weighed, merge_folders
from edgelora.adapter.merge_options import METHODS, MergeOptions
from edgelora.artifact.changing import FOLDER
from edgelora.compare.plot import spread_labels
from edgelora.data.rows import read_rows
from edgelora.evaluation.ask_adapters import ask_artifact
from edgelora.evaluation.asked import Asked
from edgelora.evaluation.interference import Interference
from edgelora.evaluation.score import Answers, answer_rows, encode_cases, mean_loss, rendering_of, task_metric
from edgelora.evaluation.timing import Subject, bind, open_session, time_subjects
from edgelora_runtime import Model, load
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.bound_adapter import bind as bind_packed
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.open_adapter import open_adapter
from edgelora_runtime.receipt import read_receipt
from examples.demo import ADAPTERS, LIMITS, trained_folders

RESULTS = Path(__file__).parent / "results"
BLEND = "blend at run time"
DENSITIES = (0.2, 0.5, 0.8)
_MERGED = "merged"
_STEPS = 24  # tokens that a turn of decoding takes
_COLOURS = ("#0072B2", "#D55E00")  # of Okabe and Ito (Color Universal Design, 2008): task by task


@dataclass(frozen=True)
class Way:
    """One way to have both tasks; a folder where it is an adapter of its own."""

    label: str
    spec: str  # what the model is asked with
    folder: Path | None = None
    rank: int = 0
    relative_error: float = 0.0  # of the merged delta from the weighted sum


def main() -> None:
    """Write ``results/merging.json``, ``.md`` and ``.png``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merging", description=main.__doc__)
    parser.add_argument("--demo", type=Path, default=Path("build/demo"), help="what `make demo` wrote")
    parser.add_argument("--work", type=Path, default=Path("build/merging"), help="where merged adapters are kept")
    parser.add_argument("--weights", default="1,1", help="of the two adapters, in the order of the demonstration")
    parser.add_argument(
        "--limit", type=int, default=None, help="rows of each task; those of the demonstration if left out"
    )
    parser.add_argument("--asked", type=int, default=16, help="rows of each task that interference is asked on")
    parser.add_argument("--rounds", type=int, default=7, help="turns of the timing")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    weights = tuple(float(item) for item in options.weights.split(","))
    if len(weights) != len(ADAPTERS):
        parser.error(f"--weights is {options.weights!r}, expected {len(ADAPTERS)} numbers with a comma between them")
    artifact, data = options.demo / "artifact", options.demo / "data"
    ways = make_ways(trained_folders(options.demo), weights, options.work)
    with load(artifact, threads=options.threads) as model:
        measured = [measure(model, artifact, data, way, weights, options) for way in tqdm(ways, "merging", unit="way")]
    result = {
        "model": read_manifest(artifact).model.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "weights": dict(zip(ADAPTERS, weights, strict=True)),
        "asked": options.asked,
        "ways": measured,
        "decode_ms": time_ways(artifact, ways, options.rounds, options.threads),
        "rounds": options.rounds,
        "threads": options.threads,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_atomically(options.results / "merging.json", json.dumps(result, indent=1) + "\n")
    (options.results / "merging.png").write_bytes(draw(result))
    page = write_page(result)
    write_atomically(options.results / "merging.md", page)
    print(page)


def make_ways(folders: Mapping[str, Path], weights: Sequence[float], work: Path) -> list[Way]:
    """Each adapter alone, the blend at run time, and a merge by every method at every density, made where missing."""
    terms = _terms(weights)
    ways = [Way(f"{name} alone", name) for name in folders] + [Way(BLEND, "+".join(terms))]
    for label, choice in _choices():
        place = work / "_".join([*terms, label]).replace(":", "-").replace(" ", "-")
        if not place.exists():
            parents = [Weighed(folder, weight) for folder, weight in zip(folders.values(), weights, strict=True)]
            place.parent.mkdir(parents=True, exist_ok=True)
            merge_folders(parents, place, choice)
        receipt = read_receipt(place)
        parents_of = {} if receipt is None else receipt.parents or {}
        off = float(parents_of.get("relative_error", 0.0))
        ways.append(Way(label, _MERGED, place, read_adapter(place).rank, off))
    return ways


def measure(
    model: Model, artifact: Path, data: Path, way: Way, weights: Sequence[float], options: argparse.Namespace
) -> dict[str, Any]:
    """What ``interference`` foretells of one way, then loss and score of both tasks."""
    foretold: Mapping[str, Any] = {}
    if way.folder is not None:
        model.load_adapter(_MERGED, way.folder)
    if way.label == BLEND or way.folder is not None:
        prompts = tuple(data / name / "train.jsonl" for name in ADAPTERS)
        first, second = _terms(weights)
        foretold = _told(ask_artifact(artifact, first, second, Asked(prompts, options.asked, way.folder)))
    tasks = {name: score(model, artifact, data, name, way.spec, options.limit or LIMITS[name])[0] for name in ADAPTERS}
    return {
        "label": way.label,
        "rank": way.rank,
        "relative_error": way.relative_error,
        "interference": foretold,
        "tasks": tasks,
    }


def score(model: Model, artifact: Path, data: Path, name: str, spec: str, limit: int) -> tuple[dict[str, Any], Answers]:
    """Loss and the figure that says most about one task, over its held-out rows; the answers beside."""
    path = data / name / "heldout.jsonl"
    rows = read_rows(path)
    how = rendering_of(read_receipt(artifact / FOLDER / name))
    cases, _ = encode_cases(rows.rows[:limit], model, str(path), how)
    choices = sorted({row.completion for row in rows.rows if row.label})
    loss = mean_loss(model, cases, spec, _unseen)
    answers = answer_rows(model, cases, choices, spec, None, _unseen, how)
    figures = answers.figures(len(choices))
    metric = task_metric(figures)
    value = None if metric is None else figures[metric]
    return {"n": len(cases), "loss": loss, "metric": metric, "score": value}, answers


def time_ways(artifact: Path, ways: Sequence[Way], rounds: int, threads: int | None) -> dict[str, Any]:
    """Milliseconds of a token for the base, an adapter, the blend, and a merge of each rank that there is."""
    session, manifest = open_session(artifact, threads, operator=None)
    subjects = [bind(session, manifest, artifact, "none"), bind(session, manifest, artifact, ADAPTERS[0])]
    subjects += [bind(session, manifest, artifact, way.spec, BLEND) for way in ways if way.label == BLEND]
    seen: set[int] = set()
    for way in ways:
        if way.folder is not None and way.rank not in seen:
            seen.add(way.rank)
            packed = session.packer.pack(open_adapter(way.folder, manifest, way.label))
            subjects.append(Subject(f"merged, rank {way.rank}", session, bind_packed(packed)))
    timings = time_subjects(subjects, rounds, _STEPS, manifest.model.vocab_size)
    return {label: asdict(found) for label, found in timings.decode_ms.items()}


def write_page(result: Mapping[str, Any]) -> str:
    """Markdown: a table of the ways, and one of times."""
    weights = ", ".join(f"{name} {weight:g}" for name, weight in result["weights"].items())
    machine = result["machine"]
    counts = " and ".join(f"{found['n']} rows of {name}" for name, found in result["ways"][0]["tasks"].items())
    metrics = [found["metric"] or "score" for found in result["ways"][0]["tasks"].values()]
    lines = [
        f"# Merging the demonstration's adapters on {result['model']}, {result['date']}",
        "",
        f"{machine['cpu']}, onnxruntime {machine['onnxruntime']} (`python -m benchmarks.merging`). Weights: {weights}.",
        f"Scores over {counts}, held out. `interference` was asked on {result['asked']} training rows of each",
        "task: the KL that an adapter's answers are off it in the blend or merge, over what it does to the base.",
        "",
        "| way | rank | off the sum | "
        + " | ".join(f"{name}: foretold, loss, {metric}" for name, metric in zip(ADAPTERS, metrics, strict=True))
        + " |",
        "|---|---|---|" + "---|" * len(ADAPTERS),
    ]
    for way in result["ways"]:
        cells = [_cell(way, name) for name in ADAPTERS]
        rank, error = (way["rank"] or "", f"{100 * way['relative_error']:.0f} %" if way["rank"] else "")
        lines.append(f"| {way['label']} | {rank} | {error} | " + " | ".join(cells) + " |")
    lines += ["", "| a token | ms (p10 to p90) |", "|---|---|"]
    lines += [
        f"| {label} | {found['median']:.2f} ({found['p10']:.2f} to {found['p90']:.2f}) |"
        for label, found in result["decode_ms"].items()
    ]
    return "\n".join([*lines, "", "![Loss of both tasks by method](merging.png)"]) + "\n"


def draw(result: Mapping[str, Any]) -> bytes:
    """A PNG, 800 pixels wide: what was foretold of each way against the loss that came, a panel for each task."""
    figure = Figure(figsize=(8.0, 4.2 * len(ADAPTERS)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(ADAPTERS), 1, squeeze=False)[:, 0]
    for axes, name, colour in zip(panels, ADAPTERS, _COLOURS, strict=True):
        ways = [way for way in result["ways"] if way["interference"]]
        across = [way["interference"][name]["kl"] for way in ways]
        up = [way["tasks"][name]["loss"] for way in ways]
        axes.scatter(across, up, color=colour, s=22)
        alone = next(way["tasks"][name]["loss"] for way in result["ways"] if way["label"] == f"{name} alone")
        axes.axhline(alone, color="#222222", linewidth=0.8, linestyle="--")
        low, high = min([*up, alone]), max([*up, alone])
        height = (high - low) or 1.0
        axes.set_ylim(low - 0.1 * height, high + 0.1 * height)
        axes.set_xlim(0, 1.45 * max([*across, 1e-6]))
        bottom, top = axes.get_ylim()
        places = spread_labels([(value - bottom) / (top - bottom) for value in up], 0.9 / max(len(up), 12))
        for way, x, y, place in zip(ways, across, up, places, strict=True):
            axes.annotate(
                way["label"],
                (x, y),
                xytext=(1.1 * max(across), bottom + place * (top - bottom)),
                fontsize=6,
                va="center",
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "alpha": 0.5},
            )
        axes.set_title(f"{name}; the dashed line is its adapter alone", fontsize=10, loc="left")
        axes.set_ylabel("loss on held-out rows (nats)")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("KL from the adapter alone that `adapter interference` foretold (nats)")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _choices() -> Iterator[tuple[str, MergeOptions]]:
    for name, method in METHODS.items():
        if not method.prunes:
            yield name, MergeOptions(name)
        else:
            for density in DENSITIES:
                yield f"{name} {density:g}", MergeOptions(name, density)


def _terms(weights: Sequence[float]) -> list[str]:
    return [f"{name}:{weight!r}" for name, weight in zip(ADAPTERS, weights, strict=True)]


def _told(found: Interference) -> dict[str, Any]:
    return {
        name: {**asdict(item), "share_lost": item.share_lost}
        for name, item in zip(ADAPTERS, (found.a, found.b), strict=True)
    }


def _cell(way: Mapping[str, Any], name: str) -> str:
    task, foretold = way["tasks"][name], way["interference"].get(name)
    share = None if foretold is None else foretold["share_lost"]
    score = "-" if task["score"] is None else f"{100 * task['score']:.1f} %"
    return f"{'' if share is None else f'{100 * share:.0f} %, '}{task['loss']:.3f}, {score}"


def _unseen(_: int) -> None:
    """Count nothing."""


if __name__ == "__main__":
    main()
