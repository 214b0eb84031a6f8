"""``python -m benchmarks.ten_classifiers``: ten adapters on one encoder beside ten merged models, and beside optimum's.

news of Reuters-8 -> memory, the time of all ten labels of a text, texts a second, for each arm

Each arm is a process of its own, in random order. Adapters and heads are random: what they say costs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import edgelora_runtime
from benchmarks.adapters import write_random_adapter
from benchmarks.machine import cpu_name, memory_mb
from benchmarks.processes import run_edgelora, run_python
from benchmarks.ten_peers import OPTIMUM, open_optimum, prepare_optimum, save_classifier
from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.exporter import find_exporter
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import read_manifest
from examples import prepare_minilm, prepare_reuters

BUILD = Path("build/ten")
RESULTS = Path(__file__).parent / "results"
ADAPTERS, FUSED, MERGED, ONE = "ten adapters", "ten adapters, fused", "ten merged models", "one merged model"
COUNT, RANK, LABELS, LENGTH = 10, 8, 8, 128
_BATCHED = 256  # texts whose throughput is measured
_SHORT = 8  # words of a text as people write one, where news have a hundred tokens
_WARM_UP = 4  # texts
FIGURES = {  # what a process tells -> its title and how much it is rounded
    "private_mb": ("private memory, MB", 0),
    "pss_mb": ("share of memory (Pss), MB", 0),
    "open_s": ("opening, s", 2),
    "all_ms": (f"all {COUNT} labels of a text, ms", 1),
    "short_ms": (f"the same of its first {_SHORT} words, ms", 1),
    "later_mb": ("private memory after those, MB", 0),
    "texts_s": ("texts a second, one classifier", 0),
}


def main() -> None:
    """Write ``results/ten_classifiers.json`` and ``results/ten_classifiers.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ten_classifiers", description=main.__doc__)
    parser.add_argument("--operator", help="libedgelora_ops; without it the fused arm is left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=40, help="that get all labels in a process")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="of the process, for one thread on a busy machine")
    parser.add_argument("--arm", help="internal: one process")
    options = parser.parse_args()
    if options.arm:
        clock = time.process_time if options.cpu_time else time.perf_counter
        print(json.dumps(measure(options.arm, options.threads, options.texts, options.operator, clock)))
        return
    prepare()
    arms = [arm for arm in (ADAPTERS, FUSED, MERGED, ONE, OPTIMUM) if arm != FUSED or options.operator]
    order, found = random.Random(0), {arm: list[Mapping[str, float]]() for arm in arms}
    given = ["--threads", str(options.threads), "--texts", str(options.texts)]
    given += ["--operator", options.operator] if options.operator else []
    given += ["--cpu-time"] if options.cpu_time else []
    for number in range(options.rounds):
        for arm in order.sample(arms, len(arms)):
            found[arm].append(run_python("-m", "benchmarks.ten_classifiers", "--arm", arm, *given).output)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    adapter_bytes = sum(path.stat().st_size for path in (BUILD / "adapters").glob("*/adapter_model.safetensors"))
    result = {
        "model": prepare_minilm.NAME,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "threads": options.threads,
        "rounds": options.rounds,
        "cpu_time": options.cpu_time,
        "rank": RANK,
        "adapters_mb": adapter_bytes / 1e6,
        "arms": {arm: list(items) for arm, items in found.items()},
    }
    write_atomically(RESULTS / "ten_classifiers.json", json.dumps(result, indent=1) + "\n")
    page = write_page(result)
    write_atomically(RESULTS / "ten_classifiers.md", page)
    print(page)


def prepare() -> None:
    """Artifacts, adapters, optimum's export and the texts, where they are missing."""
    model = prepare_minilm.prepare(BUILD / prepare_minilm.NAME)
    if not (BUILD / "reuters" / "heldout.jsonl").is_file():
        prepare_reuters.prepare(BUILD / "reuters")
    shared, common = BUILD / "shared", ("--quant", "int8", "--context-length", str(LENGTH))
    if not shared.is_dir():
        run_edgelora("export", str(model), "-o", str(shared), "--task", "classification", *common, "--json")
    for number in range(COUNT):
        folder = BUILD / "adapters" / f"adapter-{number}"
        if not folder.is_dir():
            write_random_adapter(read_manifest(shared), RANK, folder, seed=number, n_labels=LABELS)
    classifier = save_classifier(model, BUILD / "classifier", LABELS)
    first = BUILD / "merged" / "0"
    if not first.is_dir():
        grid = plan_grid(open_checkpoint(str(classifier)), parse_quant("int8"))
        export_artifact(Parts(grid), first, Build(find_exporter(), ExportOptions(slots=(), context_length=LENGTH)))
    for number in range(1, COUNT):  # other files of the same size: nothing of them is shared in memory
        if not (BUILD / "merged" / str(number)).is_dir():
            shutil.copytree(first, BUILD / "merged" / str(number))
    prepare_optimum(classifier, BUILD / "optimum")


def read_texts() -> list[str]:
    """Held-out news in a fixed random order."""
    lines = (BUILD / "reuters" / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def measure(
    arm: str, threads: int, count: int, operator: str | None, clock: Callable[[], float]
) -> Mapping[str, float]:
    """Figures of this process: opening, then all labels of ``count`` texts and memory, then many texts at once."""
    texts = read_texts()
    started = clock()
    every, many = _open(arm, threads, operator)
    figures = {"open_s": clock() - started}
    for name, words, memory in (("all_ms", None, "private_mb"), ("short_ms", _SHORT, "later_mb")):
        times = []
        for text in texts[: _WARM_UP + count]:
            begun = clock()
            every(" ".join(text.split()[:words]))
            times.append(1e3 * (clock() - begun))
        figures |= {name: statistics.mean(times[_WARM_UP:]), memory: memory_mb("status", "RssAnon")}
        if words is None:
            figures |= {"pss_mb": memory_mb("smaps_rollup", "Pss")}
    many(texts[:32])
    begun = clock()
    many(texts[:_BATCHED])
    return figures | {"texts_s": _BATCHED / (clock() - begun)}


def _open(
    arm: str, threads: int, operator: str | None
) -> tuple[Callable[[str], object], Callable[[Sequence[str]], object]]:
    """What labels one text by every classifier of the arm, and many texts by one of them."""
    if arm == OPTIMUM:
        classify = open_optimum(BUILD / "optimum", threads, LENGTH)
        return lambda text: classify([text]), classify
    if arm in (MERGED, ONE):
        folders = [BUILD / "merged" / str(number) for number in range(COUNT if arm == MERGED else 1)]
        models = [_load(folder, threads, None) for folder in folders]
        return lambda text: [model.classify(text) for model in models], lambda some: models[0].classify(list(some))
    model = _load(BUILD / "shared", threads, operator if arm == FUSED else None)
    names = [f"adapter-{number}" for number in range(COUNT)]
    labels = [f"label-{number}" for number in range(LABELS)]
    for name in names:
        model.load_adapter(name, BUILD / "adapters" / name, labels=labels, trust=True)
    return lambda text: model.classify_each(text, names), lambda some: model.classify(list(some), adapter=names[0])


def _load(folder: Path, threads: int, operator: str | None) -> edgelora_runtime.EncoderModel:
    chosen = operator if operator else False
    return edgelora_runtime.load(folder, threads=threads, operator=chosen, task="text-classification")


def write_page(result: Mapping[str, Any]) -> str:
    """Markdown: a line for each figure, then what the aims say."""
    machine, arms = result["machine"], result["arms"]
    lines = [["", *arms], ["---", *["---:"] * len(arms)]]
    for name, (title, digits) in FIGURES.items():
        cells = [_spread([item[name] for item in items], digits) for items in arms.values()]
        if name in ("all_ms", "short_ms"):
            cells = [cell if arm not in (ONE, OPTIMUM) else "" for arm, cell in zip(arms, cells, strict=True)]
        lines.append([title, *cells])
    how = (
        f"{machine['cpu']}, {result['threads']} threads, onnxruntime {machine['onnxruntime']}; a process for each arm "
    )
    how += f"in random order, {result['rounds']} rounds (`python -m benchmarks.ten_classifiers`); medians with the "
    how += (
        f"least and the most. Adapters have rank {result['rank']}, texts are Reuters news of at most {LENGTH} tokens. "
    )
    how += "Memory is that of the whole process, Python included, after every text of news had all its labels."
    how += " Times are those of the processor in this process, on a busy machine." if result["cpu_time"] else ""
    about = [f"# Ten classifiers on one encoder, {result['model']}, {result['date']}", "", how, ""]
    table = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([*about, *table, "", *_ratios(result)]) + "\n"


def _ratios(result: Mapping[str, Any]) -> list[str]:
    """Each variant of ten adapters over the others, round by round."""
    arms, extra = result["arms"], result["adapters_mb"] * 1e6 / (1 << 20)

    def ratio(name: str, ours: str, theirs: str, beside: float = 0.0) -> float:
        pairs = zip(arms[ours], arms[theirs], strict=True)
        return float(np.median([a[name] / (b[name] + beside) for a, b in pairs]))

    lines = ["| ratio | " + " | ".join(arm for arm in arms if arm in (ADAPTERS, FUSED)) + " |"]
    lines.append("|---|" + "---:|" * lines[0].count("|", 9))
    rows = {
        f"private memory over one merged model and {result['adapters_mb']:.1f} MB of adapters": (
            "private_mb",
            ONE,
            extra,
        ),
        "the same after short texts, ten rows in a call": ("later_mb", ONE, extra),
        "Pss after news": ("pss_mb", ONE, extra),
        "private memory over ten merged models": ("private_mb", MERGED, 0.0),
        "all ten labels, time over ten merged models": ("all_ms", MERGED, 0.0),
        "the same of short texts": ("short_ms", MERGED, 0.0),
        "texts a second with an adapter on, over optimum's int8": ("texts_s", OPTIMUM, 0.0),
    }
    for title, (name, theirs, beside) in rows.items():
        found = [f"{ratio(name, arm, theirs, beside):.2f}" for arm in arms if arm in (ADAPTERS, FUSED)]
        lines.append(f"| {title} | {' | '.join(found)} |")
    return lines


def _spread(values: Sequence[float], digits: int) -> str:
    shown = (statistics.median(values), min(values), max(values))
    return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*shown, d=digits)


if __name__ == "__main__":
    main()
