"""``python -m benchmarks.native_program``: memory and decode speed of ``edgelora-run``, beside the Python runtime.

artifact, folder of the native runtime -> memory with one adapter and with ten, milliseconds of a token

Each figure comes from a process of its own, in random order. A token's time is what a longer answer takes more than a
shorter one, so that nothing of starting and opening is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from benchmarks.adapters import write_random_adapter
from benchmarks.artifacts import plain_int4
from benchmarks.machine import cpu_name
from edgelora.adapter.narrow import STORES
from edgelora.artifact.store import add_adapter
from edgelora_runtime import load
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import cache_bytes, read_manifest

WORK = Path("build/native-program")
RESULTS = Path(__file__).parent / "results"
CPP, PYTHON = "C++", "Python"
ARMS = (CPP, PYTHON)
N_ADAPTERS, RANK = 10, 16
SHORT, LONG = 16, 144  # tokens of an answer
PAIRS = [(arm, tokens) for arm in ARMS for tokens in (SHORT, LONG)]
PROMPT = "Once upon a time"
_MB = 1e6


def main() -> None:
    """Write ``native_program.json`` and ``native_program.md`` into ``--results``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.native_program", description=main.__doc__)
    parser.add_argument("--native", type=Path, default=Path("build/native"), help="as `make native` builds it")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--store", choices=STORES, default="float16", help="what the adapters' factors are")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--arm", help="internal: an answer of Python, ARTIFACT THREADS TOKENS", nargs=3)
    options = parser.parse_args()
    if options.arm:
        artifact, threads, tokens = options.arm
        with load(artifact, threads=int(threads), operator=options.native / "libedgelora_ops.so") as model:
            answer = model.generate(PROMPT, raw=True, adapter="a0", max_new_tokens=int(tokens))
        print(json.dumps({"results": [{"token_ids": list(answer.token_ids)}]}))
        return
    artifact = _with_adapters(options.store)
    result = {
        "model": read_manifest(artifact).model.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "rounds": options.rounds,
        "store": options.store,
        "memory": _memory(artifact, options.native, options.rounds),
        "decode": {str(threads): _decode(artifact, options, threads) for threads in options.threads},
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_atomically(options.results / "native_program.json", json.dumps(result, indent=1) + "\n")
    page = write_page(result)
    write_atomically(options.results / "native_program.md", page)
    print(page)


def _with_adapters(store: str) -> Path:
    """SmolLM2-135M-Instruct in int4 with ten random adapters, made where it is missing."""
    place = WORK / f"smollm2-{store}"
    if not place.exists():
        made = shutil.copytree(plain_int4(WORK / "smollm2"), place.with_name(f"partial-{store}"), dirs_exist_ok=True)
        manifest = read_manifest(made)
        have = {adapter.name for adapter in manifest.adapters}
        for seed in range(N_ADAPTERS):
            if f"a{seed}" not in have:
                folder = write_random_adapter(manifest, RANK, WORK / f"adapter-{seed}", seed=seed)
                add_adapter(made, f"a{seed}", folder, probe=False, store=store)
        made.rename(place)
    return place


def _program(artifact: Path, native: Path, *words: object) -> list[str]:
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1.*"))
    given = ["--json", "--raw", "--onnxruntime", library, "--operators", native / "libedgelora_ops.so", *words]
    return [str(word) for word in (native / "edgelora-run", artifact, *given)]


def _run(command: Sequence[str]) -> tuple[float, dict[str, Any]]:
    """Seconds, and what the process printed."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return seconds, json.loads(done.stdout)


def _memory(artifact: Path, native: Path, rounds: int) -> dict[str, float]:
    """Megabytes: private with one adapter, resident with ten, and what artifact and adapters are on disk.

    Private is what belongs to no file: pages of the mapped weights can be dropped at any time, and are not counted.
    """
    lines = [{"prompt": PROMPT, "adapter": f"a{index}"} for index in range(N_ADAPTERS)]
    file = WORK / "prompts.jsonl"
    write_atomically(file, "".join(json.dumps(line) + "\n" for line in lines))
    manifest, private, resident = read_manifest(artifact), [], []
    tokens = SHORT + len(Tokenizer.from_file(str(artifact / "tokenizer.json")).encode(PROMPT).ids)
    for _ in range(rounds):
        one = _program(artifact, native, "--memory", "--max-new-tokens", SHORT, "--prompt", PROMPT, "--adapter", "a0")
        private.append(_run(one)[1]["memory"]["anonymous"] - cache_bytes(manifest) * tokens)
        ten = _program(artifact, native, "--memory", "--max-new-tokens", 4, "--file", file)
        resident.append(_run(ten)[1]["memory"]["resident"])
    on_disk = sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
    return {
        "private_mb": float(np.median(private)) / _MB,
        "resident_mb": float(np.median(resident)) / _MB,
        "disk_mb": on_disk / _MB,
        "ratio": float(np.median(resident)) / on_disk,
    }


def _answer(arm: str, artifact: Path, native: Path, threads: int, tokens: int) -> list[str]:
    """What gives one answer of at most so many tokens."""
    if arm == CPP:
        words = ["--threads", threads, "--max-new-tokens", tokens, "--prompt", PROMPT, "--adapter", "a0"]
        return _program(artifact, native, *words)
    own = [sys.executable, "-m", "benchmarks.native_program", "--native", str(native)]
    return [*own, "--arm", str(artifact), str(threads), str(tokens)]


def _decode(artifact: Path, options: argparse.Namespace, threads: int) -> dict[str, float]:
    """Milliseconds of a token of each arm, and the median of their ratios, round by round."""
    order = random.Random(threads)
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    commands = {(arm, tokens): _answer(arm, artifact, options.native, threads, tokens) for arm, tokens in PAIRS}
    for number in range(options.rounds):
        taken = {key: _run(commands[key]) for key in order.sample(list(commands), len(commands))}
        counts = {key: len(printed["results"][0]["token_ids"]) for key, (_, printed) in taken.items()}
        if counts[CPP, LONG] != counts[PYTHON, LONG] or counts[CPP, LONG] <= counts[CPP, SHORT]:
            sys.exit(f"answers have {counts} tokens; expected the same of both, and more with a higher limit")
        for arm in ARMS:
            seconds = taken[arm, LONG][0] - taken[arm, SHORT][0]
            times[arm].append(1e3 * seconds / (counts[arm, LONG] - counts[arm, SHORT]))
        shown = ", ".join(f"{arm} {found[-1]:.2f} ms" for arm, found in times.items())
        print(f"{threads} threads, round {number + 1}: {shown}", file=sys.stderr)
    ratios = [ours / theirs for ours, theirs in zip(times[CPP], times[PYTHON], strict=True)]
    return {**{arm: float(np.median(found)) for arm, found in times.items()}, "ratio": float(np.median(ratios))}


def write_page(result: Mapping[str, Any]) -> str:
    """Markdown: memory in a sentence, and a table with a line for each number of threads."""
    machine, memory = result["machine"], result["memory"]
    how = f"{machine['cpu']}, onnxruntime {machine['onnxruntime']}; `edgelora-run` with adapters of rank {RANK} in "
    how += f"{result['store']}, a process for each figure in random order, {result['rounds']} rounds "
    how += "(`python -m benchmarks.native_program`); medians, and ratios round by round."
    told = f"Private memory with one adapter, without the KV cache: {memory['private_mb']:.0f} MB. Resident with "
    told += f"{N_ADAPTERS} adapters: {memory['resident_mb']:.0f} MB, {memory['ratio']:.2f} times the "
    told += f"{memory['disk_mb']:.0f} MB of artifact and adapters."
    lines = [f"| {n} | {d[CPP]:.2f} | {d[PYTHON]:.2f} | {d['ratio']:.2f} |" for n, d in result["decode"].items()]
    about = [f"# The native program, {result['model']}, {result['date']}", "", how, "", told, ""]
    return "\n".join([*about, "| threads | C++, ms a token | Python | ratio |", "|---|---|---|---|", *lines]) + "\n"


if __name__ == "__main__":
    main()
