"""``python -m benchmarks.in_place``: linears that read mapped weights beside onnxruntime's own, which packs them.

artifact -> times of a token, a prompt and opening, and memory, for each arm

Each arm is a process of its own, in random order. Both have the same graph without slots, over the same weights.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.artifacts import plain_int4
from benchmarks.machine import cpu_name, memory_mb
from benchmarks.operator import random_adapter
from edgelora_runtime.bound_adapter import bind
from edgelora_runtime.files import write_atomically
from edgelora_runtime.find_operators import find_operators
from edgelora_runtime.manifest import Manifest, cache_bytes, read_manifest
from edgelora_runtime.session import Session

WORK = Path("build/in-place")
RESULTS = Path(__file__).parent / "results"
PACKED, IN_PLACE = "MatMulNBits", "in place"
ARMS = (PACKED, IN_PLACE)
IN_PLACE_FILE = "decoder.in-place.onnx"  # the twin without slots, lowered like the fused one
PROMPT = 512  # tokens
RANK = 16
_WARM_UP = 6  # steps
_MB = 1 << 20
FIGURES = {  # what a process tells -> its title and how much it is rounded
    "decode_ms": ("decode, ms a token", 2),
    "prefill": (f"prefill of {PROMPT}, tokens/s", 0),
    "open_s": ("opening, s", 3),
    "private_mb": ("private memory after decoding, MB", 0),
    "prompt_mb": ("private memory after the prompt, MB", 0),
    "pss_mb": ("share of memory (Pss) of one of two processes, MB", 0),
    "adapter_mb": (f"private memory after decoding with an adapter of rank {RANK}, MB", 0),
}


def main() -> None:
    """Write ``results/in_place.json`` and ``results/in_place.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.in_place", description=main.__doc__)
    parser.add_argument("--artifact", type=Path, help="SmolLM2-135M-Instruct in int4, made in build/ if left out")
    parser.add_argument("--operator", help="libedgelora_ops; that of edgelora-ops if left out")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=120, help="tokens decoded in a process")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--arm", help="internal: one process, ARM THREADS", nargs=2)
    parser.add_argument("--adapter", action="store_true", help="internal: a process with an adapter")
    options = parser.parse_args()
    artifact = options.artifact or plain_int4(WORK / "smollm2")
    if options.arm:
        run = measure_adapter if options.adapter else measure
        run(artifact, options.arm[0], int(options.arm[1]), options.steps, options.operator)
        return
    _lower(artifact)
    result = {
        "model": read_manifest(artifact).model.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "rounds": options.rounds,
        "threads": {str(threads): _compare(artifact, options, threads) for threads in options.threads},
    }
    RESULTS.mkdir(exist_ok=True)
    write_atomically(RESULTS / "in_place.json", json.dumps(result, indent=1) + "\n")
    page = write_page(result)
    write_atomically(RESULTS / "in_place.md", page)
    print(page)


def _lower(artifact: Path) -> None:
    """Write the twin without slots with linears in place beside the one that is there."""
    import onnx_ir as ir

    from edgelora_onnx.passes.lower_in_place import LowerInPlace

    model = ir.load(artifact / _plain(read_manifest(artifact)))
    LowerInPlace()(model)
    ir.save(model, artifact / IN_PLACE_FILE)


def _plain(manifest: Manifest) -> str:
    return manifest.graph.without_slots or manifest.graph.file


def _compare(artifact: Path, options: argparse.Namespace, threads: int) -> dict[str, Any]:
    order = random.Random(threads)
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    command = [sys.executable, "-m", "benchmarks.in_place", "--artifact", str(artifact), "--steps", str(options.steps)]
    command += [] if options.operator is None else ["--operator", options.operator]
    for number in range(options.rounds):
        for arm in order.sample(ARMS, len(ARMS)):
            found[arm].append(_run([*command, "--arm", arm, str(threads)]))
            with_adapter = [*command, "--arm", arm, str(threads), "--adapter"]
            found[arm][-1] |= json.loads(subprocess.run(with_adapter, stdout=subprocess.PIPE, check=True).stdout)
        shown = ", ".join(f"{arm} {items[-1]['decode_ms']:.2f} ms" for arm, items in found.items())
        print(f"{threads} threads, round {number + 1}: {shown}", file=sys.stderr)
    return {
        name: {arm: _spread([item[name] for item in items]) for arm, items in found.items()}
        | {"ratio": _ratio(name, found)}
        for name in FIGURES
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "least": min(values), "most": max(values)}


def _ratio(name: str, found: Mapping[str, list[dict[str, float]]]) -> float:
    """In place over packed, round by round."""
    pairs = zip(found[IN_PLACE], found[PACKED], strict=True)
    return float(np.median([ours[name] / theirs[name] for ours, theirs in pairs]))


def _run(command: list[str]) -> dict[str, float]:
    """One process that measures; then a second one beside it, which tells what the first then takes."""
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdin is not None and first.stdout is not None
    line = first.stdout.readline()
    if not line:
        sys.exit(f"a process ended with code {first.wait()}")
    second = subprocess.Popen([*command, "--steps", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert second.stdin is not None and second.stdout is not None
    second.stdout.readline()
    figures: dict[str, float] = json.loads(line)
    first.stdin.write("\n")
    first.stdin.flush()
    figures |= json.loads(first.stdout.readline())
    for process in (first, second):
        process.communicate()
    return figures


def measure(artifact: Path, arm: str, threads: int, steps: int, operator: str | None) -> None:
    """Print the figures as a line of JSON; after a line of input, once more what depends on the processes beside."""
    manifest = read_manifest(artifact)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if arm == IN_PLACE:
        options.register_custom_ops_library(str(find_operators(True if operator is None else operator, manifest)))
    file = artifact / (IN_PLACE_FILE if arm == IN_PLACE else _plain(manifest))
    started = time.perf_counter()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    opened = time.perf_counter() - started
    binding = session.io_binding()
    shape = (1, manifest.model.num_kv_heads, PROMPT, manifest.model.head_dim)
    caches = []
    for layer in range(manifest.model.num_layers):
        for kind in ("key", "value"):
            cache = onnxruntime.OrtValue.ortvalue_from_numpy(np.full(shape, 0.1, np.float32))
            binding.bind_ortvalue_input(f"past_key_values.{layer}.{kind}", cache)
            binding.bind_ortvalue_output(f"present.{layer}.{kind}", cache)
            caches.append(cache)
    binding.bind_output("logits", "cpu")

    def step(ids: list[int], past: int) -> float:
        last = past + len(ids) - 1
        binding.bind_cpu_input("input_ids", np.array([ids], np.int64))
        binding.bind_cpu_input("seqlens_k", np.array([last], np.int32))
        binding.bind_cpu_input("total_sequence_length", np.array(last + 1, np.int32))
        binding.bind_cpu_input("logits_positions", np.array([[len(ids) - 1]], np.int64))
        begun = time.perf_counter()
        session.run_with_iobinding(binding)
        return time.perf_counter() - begun

    step([7, 8, 9], 0)
    times = [step([7], 20 + i % 100) for i in range(_WARM_UP + steps)][_WARM_UP:]
    cache_mb = len(caches) * int(np.prod(shape)) * 4 / _MB
    private = memory_mb("status", "RssAnon") - cache_mb
    prompt = np.random.default_rng(0).integers(10, manifest.model.vocab_size, PROMPT).tolist()
    prefill = min(step(prompt, 0) for _ in range(2))
    figures = {
        "decode_ms": 1e3 * float(np.median(times)),
        "prefill": PROMPT / prefill,
        "open_s": opened,
        "private_mb": private,
        "prompt_mb": memory_mb("status", "RssAnon") - cache_mb,
    }
    print(json.dumps(figures), flush=True)
    sys.stdin.readline()
    print(json.dumps({"pss_mb": memory_mb("smaps_rollup", "Pss") - cache_mb}), flush=True)


def measure_adapter(artifact: Path, arm: str, threads: int, steps: int, operator: str | None) -> None:
    """Print the private memory of the Python runtime: with slots, or with the fused graph."""
    manifest = read_manifest(artifact)
    library = find_operators(True if operator is None else operator, manifest) if arm == IN_PLACE else None
    session = Session(artifact, manifest, threads, library=library)
    adapter = bind(session.packer.pack(random_adapter(manifest, RANK, seed=0)))
    session.begin(1, adapter)
    session.prefill_rows([[7, 8, 9]])
    for _ in range(min(steps, 20)):
        session.decode(np.full(1, 7, np.int64), np.ones(1, np.bool_))
    cached_mb = cache_bytes(manifest) * int(session.lengths[0]) / _MB
    print(json.dumps({"adapter_mb": memory_mb("status", "RssAnon") - cached_mb}))


def write_page(result: Mapping[str, Any]) -> str:
    """Markdown: one table, a line for each figure and number of threads."""
    machine = result["machine"]
    lines = [["threads", "", *ARMS, "ratio"], ["---"] * (3 + len(ARMS))]
    for threads, found in result["threads"].items():
        for name, (title, digits) in FIGURES.items():
            arms = [f"{found[name][arm]['median']:.{digits}f}" for arm in ARMS]
            lines.append([threads, title, *arms, f"{found[name]['ratio']:.2f}"])
    how = f"{machine['cpu']}, onnxruntime {machine['onnxruntime']}; a process for each arm in random order, "
    how += (
        f"{result['rounds']} rounds (`python -m benchmarks.in_place`); medians, and ratios round by round. Memory is "
    )
    how += "that of the process, Python included, without the KV cache."
    about = [f"# Linears in place and onnxruntime's own, {result['model']}, {result['date']}", "", how, ""]
    return "\n".join([*about, *(f"| {' | '.join(cells)} |" for cells in lines)]) + "\n"


if __name__ == "__main__":
    main()
