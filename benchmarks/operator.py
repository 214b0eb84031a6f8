"""``python -m benchmarks.operator``: what an adapter costs with slots and with the fused operator.

artifact -> milliseconds of a token for each arm

Each arm is a process of its own, in random order: where the memory of several sessions in one process lies moved a
ratio by a quarter.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.artifacts import plain_int4
from benchmarks.machine import cpu_name
from edgelora.adapter.narrow import STORES, narrow
from edgelora_runtime.adapter import Adapter, Factors
from edgelora_runtime.bound_adapter import bind
from edgelora_runtime.files import write_atomically
from edgelora_runtime.find_operators import find_operators
from edgelora_runtime.manifest import FLOAT_STORE, Manifest, Slot, read_manifest
from edgelora_runtime.session import Session

WORK = Path("build/operator")
RESULTS = Path(__file__).parent / "results"
NONE, SLOTS = "no slots", "slots"
FUSED = "fused, no adapter"  # the other graph alone, whose linears need not be those of the first
ARMS = (NONE, SLOTS, FUSED, *STORES)
ROWS = 8
PROMPT = 20  # tokens
_WARM_UP = 6  # steps


def main() -> None:
    """Write ``results/operator.json`` and ``results/operator.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator", description=main.__doc__)
    parser.add_argument("--artifact", type=Path, help="SmolLM2-135M-Instruct in int4, made in build/ if left out")
    parser.add_argument("--operator", help="libedgelora_ops; that of edgelora-ops if left out")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=120, help="tokens decoded in a process")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ranks", type=int, nargs="+", default=[16, 8])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--cpu-time", action="store_true", help="of the process, for one thread on a busy machine")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--no-rows", action="store_true", help="one row alone")
    parser.add_argument("--arm", help="internal: one process, ARM THREADS RANK ROWS", nargs=4)
    options = parser.parse_args()
    artifact = options.artifact or plain_int4(WORK / "smollm2")
    if options.arm:
        arm, threads, rank, rows = options.arm
        clock = time.process_time if options.cpu_time else time.perf_counter
        print(*_measure(artifact, arm, int(threads), int(rank), int(rows), options.steps, options.operator, clock))
        return
    result = {
        "model": read_manifest(artifact).model.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "rounds": options.rounds,
        "cpu_time": options.cpu_time,
        "decode": [
            _compare(artifact, options, threads, rank, rows)
            for rows in ((1,) if options.no_rows else (1, ROWS))
            for threads in options.threads
            for rank in (options.ranks if rows == 1 else options.ranks[:1])
        ],
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_atomically(options.results / "operator.json", json.dumps(result, indent=1) + "\n")
    page = write_page(result)
    write_atomically(options.results / "operator.md", page)
    print(page)


def _compare(artifact: Path, options: argparse.Namespace, threads: int, rank: int, rows: int) -> dict[str, Any]:
    """Medians of every arm, and of its ratios to the first, round by round."""
    order = random.Random(rows * 100 + threads * 10 + rank)
    times: dict[str, list[float]] = {arm: [] for arm in options.arms}
    command = [sys.executable, "-m", "benchmarks.operator", "--artifact", str(artifact), "--steps", str(options.steps)]
    command += ["--cpu-time"] if options.cpu_time else []
    command += [] if options.operator is None else ["--operator", options.operator]
    for number in range(options.rounds):
        for arm in order.sample(list(options.arms), len(options.arms)):
            given = [arm, str(threads), str(rank), str(rows)]
            done = subprocess.run([*command, "--arm", *given], capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{arm}: {done.stderr.strip().splitlines()[-1]}")
            times[arm].append(float(done.stdout.split()[0]))
        shown = ", ".join(f"{arm} {found[-1]:.2f}" for arm, found in times.items())
        print(f"{rows} rows, {threads} threads, rank {rank}, round {number + 1}: {shown}", file=sys.stderr)
    first, fused = np.array(times[options.arms[0]]), times.get(FUSED)
    arms = {
        arm: {
            "ms": round(float(np.median(found)), 3),
            "least": round(min(found), 3),
            "most": round(max(found), 3),
            "ratio": round(float(np.median(np.array(found) / first)), 3),
            "over_fused": round(float(np.median(np.array(found) / fused)), 3) if fused and arm in STORES else None,
        }
        for arm, found in times.items()
    }
    return {"rows": rows, "threads": threads, "rank": rank, "arms": arms}


def _measure(
    artifact: Path,
    arm: str,
    threads: int,
    rank: int,
    rows: int,
    steps: int,
    operator: str | None,
    clock: Callable[[], float],
) -> tuple[float, float]:
    """Median and least milliseconds of a step that gives each row a token."""
    manifest = read_manifest(artifact)
    library = find_operators(True if operator is None else operator, manifest) if arm in (FUSED, *STORES) else None
    session = Session(artifact, manifest, threads, library=library)
    store = arm if arm in STORES else FLOAT_STORE
    made = [session.packer.pack(narrow(random_adapter(manifest, rank, seed), store)) for seed in range(rows)]
    none = session.packer.blend([])
    bound = bind(none if arm in (NONE, FUSED) else made[0] if rows == 1 else session.packer.stack(made))
    bound = dataclasses.replace(bound, is_none=arm == NONE)  # else the graph without slots would run
    vocab_size = manifest.model.vocab_size
    prompts = np.random.default_rng(0).integers(0, vocab_size, (rows, PROMPT)).tolist()
    session.begin(rows, bound)
    session.prefill_rows(prompts)
    ids, is_active = np.full(rows, 7, np.int64), np.ones(rows, np.bool_)
    times = []
    for _ in range(_WARM_UP + steps):
        started = clock()
        session.decode(ids, is_active)
        times.append(1e3 * (clock() - started))
    return float(np.median(times[_WARM_UP:])), min(times[_WARM_UP:])


def random_adapter(manifest: Manifest, rank: int, seed: int) -> Adapter:
    """Factors of one rank for every module that a slot holds."""
    return Adapter({key: item for slot in manifest.slots for key, item in _random_factors(slot, rank, seed).items()})


def _random_factors(slot: Slot, rank: int, seed: int) -> Mapping[str, Factors]:
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return 0.01 * random.standard_normal(shape, np.float32)

    return {p.module: Factors(draw(rank, slot.in_features), draw(p.out_features, rank), 2.0) for p in slot.parts}


def _cell(item: Mapping[str, Any]) -> str:
    behind = "" if item["over_fused"] is None else f" / {item['over_fused']:.2f}"
    return f"{item['ms']:.2f} ({item['ratio']:.2f}{behind})"


def write_page(result: Mapping[str, Any]) -> str:
    """Markdown: one table, a line for each number of rows, threads and rank."""
    machine, lines = result["machine"], []
    arms: Sequence[str] = list(result["decode"][0]["arms"])
    for found in result["decode"]:
        cells = [_cell(item) for item in found["arms"].values()]
        counts = ", ".join(f"{found[f'{kind}s']} {kind}{'s' * (found[f'{kind}s'] > 1)}" for kind in ("row", "thread"))
        lines.append([f"{counts}, rank {found['rank']}", *cells])
    how = f"{machine['cpu']}, onnxruntime {machine['onnxruntime']}; a process for each arm in random order, "
    how += (
        f"{result['rounds']} rounds (`python -m benchmarks.operator`). Milliseconds of a step, in which each row gets "
    )
    how += f"a token, and in brackets the ratio to *{arms[0]}*, round by round; medians. With {ROWS} rows each has an "
    how += f"adapter of its own. Behind a slash the ratio to *{FUSED}*, where it was measured."
    how += " Times are those of the processor in this process, on a busy machine." if result["cpu_time"] else ""
    about = [f"# Adapters by slots and by the fused operator, {result['model']}, {result['date']}", "", how, ""]
    table = [["", *arms], ["---"] * (1 + len(arms)), *lines]
    return "\n".join([*about, *(f"| {' | '.join(cells)} |" for cells in table)]) + "\n"


if __name__ == "__main__":
    main()
