"""``python -m benchmarks.peers``: the project and its peers in turns, with ratios, memory, start and limits.

Knows nothing about earlier runs but to keep the sections of models that this run does not measure. Environments and
what peers load are made once and kept under ``build/peers``.
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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.machine import cpu_name
from benchmarks.peers.environments import PEERS, ROOT, is_ready, make_environment
from benchmarks.peers.figures import GENAI_RANK_16, LLAMA_RANK_16, NO_SLOTS, RANK_8, RANK_16
from benchmarks.peers.fresh import count_instructions, measure_memory, measure_peer_memory, measure_start
from benchmarks.peers.limits import limits
from benchmarks.peers.models import RANDOM_SHAPES
from benchmarks.peers.plot import draw
from benchmarks.peers.prepare import MODELS, SMOLLM2, Prepared, prepare
from benchmarks.peers.report import write_report
from benchmarks.peers.rounds import Plan, Turns, measure, rounds_with_warm_up
from benchmarks.peers.subjects import Engine, engines, open_workers
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import EdgeLoraError
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import read_manifest

RESULTS = Path(__file__).parent.parent / "results"
_STARTS = 5  # fresh processes
_EXTRAS = {"edgelora": ("switch", "bind", "load", "map"), "llama.cpp": ("switch", "load")}
_MEMORY_LABELS = (GENAI_RANK_16, LLAMA_RANK_16)


def main() -> int:
    """Measure the models of ``--models`` and write ``results/peers.json``, ``.md`` and ``.png``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=main.__doc__)
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=[SMOLLM2], metavar="MODEL", help=", ".join(MODELS)
    )
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), metavar="PEER", help=", ".join(PEERS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7, help="turns of every subject")
    parser.add_argument("--steps", type=int, default=24, help="tokens decoded in a turn")
    parser.add_argument("--prefill", type=int, default=512, help="tokens of the timed prompt")
    parser.add_argument("--operator", default="", help="libedgelora_ops, to measure the fused graph as well")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--prepare", action="store_true", help="make environments and models, and measure nothing")
    parser.add_argument("--without-instructions", action="store_true", help="leave out the minutes under valgrind")
    options = parser.parse_args()
    plan = Plan(options.rounds, options.prefill, options.steps)
    try:
        for peer in options.peers:
            if not is_ready(peer):
                _say(f"making the environment of {peer} in {ROOT / peer}")
            make_environment(peer)
        for name in options.models:
            _say(f"preparing {name}")
            prepared, export = prepare(name, options.peers)
            if options.prepare:
                continue
            section = measure_model(
                prepared, options.peers, options.operator, options.threads, plan, not options.without_instructions
            )
            section["export"] = describe_export(prepared, export.seconds, export.peak_bytes)
            keep(options.out, name, section)
    except EdgeLoraError as error:
        _say(str(error))
        return 2
    if not options.prepare:
        print((options.out / "peers.md").read_text(encoding="utf-8"))
    return 0


def measure_model(
    prepared: Prepared,
    peers: Sequence[str],
    operator: str,
    threads: Sequence[int],
    plan: Plan,
    with_instructions: bool,
) -> dict[str, Any]:
    """Everything but the export, as it goes into ``peers.json``."""
    found = engines(prepared, peers, operator)
    by_threads: dict[str, Turns] = {}
    versions: dict[str, str] = {}
    extras: dict[str, list[float]] = {}
    for count in threads:
        with ExitStack() as stack:
            workers = open_workers(found, count, stack)
            versions = {worker.name: worker.version for worker in workers}
            total = rounds_with_warm_up(plan.rounds)
            with tqdm(total=total, desc=f"{count} threads", unit="round", file=sys.stderr) as bar:
                by_threads[str(count)] = measure(workers, plan, bar.update)
            for worker in workers:
                # The figures of the last number of threads stay; none of these uses more than one.
                for name in _EXTRAS.get(worker.name, ()):
                    extras[f"{worker.name}, {name}"] = worker.ask({"extra": name})["values"]
    _say("fresh processes, memory, limits")
    manifest = read_manifest(prepared.slots)
    adapters: dict[str, str | None] = {NO_SLOTS: None, RANK_8: "rank-8", RANK_16: "rank-16"}
    counted: dict[str, dict[str, int]] = {}
    # The random models have no text to go on with, and valgrind is for the small one.
    for label, spec in (("no adapter", "none"), ("rank 16", "rank-16")):
        if with_instructions and prepared.name not in RANDOM_SHAPES:
            _say(f"instructions of a token, {label}")
            instructions = count_instructions(prepared.one, spec)
            counted |= {} if instructions is None else {label: dataclasses.asdict(instructions)}
    return {
        "model": prepared.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count()},
        "versions": versions,
        "rounds": plan.rounds,
        "prefill_tokens": plan.prefill,
        "threads": {count: dataclasses.asdict(turns) for count, turns in by_threads.items()},
        "extras": extras,
        "start": dict(measure_start(prepared.one, max(threads), _STARTS)),
        "cached_start": dict(measure_start(prepared.one, max(threads), _STARTS, empty_cache(prepared))),
        "memory": describe_memory(prepared, found, max(threads)),
        "limits": {str(count): limits(manifest, prepared.slots, adapters, count) for count in threads},
        "instructions": counted,
    }


def empty_cache(prepared: Prepared) -> Path:
    """A folder for ``load(cache=...)`` that holds nothing of an earlier export."""
    folder = prepared.one.parent / "cache-of-one"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def describe_memory(prepared: Prepared, found: Sequence[Engine], threads: int) -> dict[str, Any]:
    """Peak memory of a process with one adapter, ours and those of the peers that ship."""
    peak = measure_memory(prepared.one, threads)
    cached = measure_memory(prepared.one, threads, prepared.one.parent / "cache-of-one")
    size = sum(info.bytes for info in read_manifest(prepared.one).files.values())
    peers = {
        subject.label: measure_peer_memory(engine.name, engine.python, engine.module, subject, threads) / 1e6
        for engine in found
        for subject in engine.subjects
        if subject.label in _MEMORY_LABELS
    }
    return {
        "peak_mb": peak / 1e6,
        "artifact_mb": size / 1e6,
        "peak_over_artifact": peak / size,
        "cached_peak_over_artifact": cached / size,
        "peers_mb": peers,
    }


def describe_export(prepared: Prepared, seconds: float, peak_bytes: int) -> dict[str, float]:
    """Seconds and memory of `edgelora export`, against the size of the model in float32."""
    checkpoint = open_checkpoint(prepared.source)
    parameters = 0
    for name in checkpoint.names():
        count = 1
        for extent in checkpoint.shape(name):
            count *= extent
        parameters += count
    return {
        "seconds": seconds,
        "peak_mb": peak_bytes / 1e6,
        "float32_mb": 4 * parameters / 1e6,
        "peak_over_float32": peak_bytes / (4 * parameters),
    }


def keep(folder: Path, name: str, section: dict[str, Any]) -> None:
    """Put a model's section into the results and write all three files anew, each under a temporary name first."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "peers.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"models": {}}
    results["models"][name] = section
    contents: dict[str, str | bytes] = {
        "peers.json": json.dumps(results, indent=1) + "\n",
        "peers.md": write_report(results),
        "peers.png": draw(results),
    }
    for file, content in contents.items():
        write_atomically(folder / file, content)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
