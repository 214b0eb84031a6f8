"""``edgelora bench``: how fast an artifact decodes, with and without its adapters.

artifact, options -> milliseconds as lines or JSON
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from edgelora.cli.bench_encoder import bench_encoder
from edgelora.cli.output import Json, emit, table
from edgelora.cli.peak_memory import peak_rss_bytes
from edgelora.cli.thread_options import Threads
from edgelora.evaluation.timing import PROMPT_TOKENS, Spread, bind, open_session, rounds_with_warm_up, time_subjects
from edgelora_runtime import load
from edgelora_runtime.graph import default_threads
from edgelora_runtime.manifest import TEXT_GENERATION, read_manifest


def bench(
    artifact: Annotated[Path, typer.Argument(help="Folder written by `edgelora export`.", show_default=False)],
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="Measure this adapter beside none; may be repeated.  [default: all]"),
    ] = None,
    threads: Threads = None,
    twin: Annotated[
        bool,
        typer.Option(
            "--twin",
            help="Keep the graph without slots in memory too, so that no adapter costs what the bare base costs.",
        ),
    ] = False,
    operator: Annotated[
        bool | None,
        typer.Option(
            "--operator/--no-operator",
            help="Multiply adapters by the operators of edgelora-ops.  [default: where they are installed]",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often every adapter has its turn.")] = 10,
    as_json: Json = False,
) -> None:
    """Measure decode, or a text of an encoder, with no adapter and with each, in turns; switching, loading, memory.

    Example: edgelora bench smol --adapter support --threads 1
    """
    manifest = read_manifest(artifact)
    if manifest.task != TEXT_GENERATION:
        bench_encoder(artifact, manifest, adapter, threads, operator, rounds, as_json)
        return
    session, manifest = open_session(artifact, threads, twin, operator)
    is_fused = session.packer.form == "fused"
    names = adapter or [info.name for info in manifest.adapters]
    specs = ["none", *dict.fromkeys(spec for spec in names if spec != "none")]
    subjects = [bind(session, manifest, artifact, spec) for spec in specs]
    with tqdm(total=rounds_with_warm_up(rounds), desc="bench", unit="round", file=sys.stderr, disable=None) as bar:
        found = time_subjects(subjects, rounds, 16, manifest.model.vocab_size, bar.update)
    peak_bytes = peak_rss_bytes()  # before the artifact is loaded once more
    del session, subjects
    started = time.perf_counter()
    load(artifact, threads=threads, twin=twin, operator=operator)
    load_ms = 1e3 * (time.perf_counter() - started)
    payload = {
        "threads": threads or default_threads(),
        "twin": twin,
        "operator": is_fused,
        "decode_ms": {spec: dataclasses.asdict(times) for spec, times in found.decode_ms.items()},
        "decode_ratio": dict(found.decode_ratio),
        "prefill_tokens_per_s": _per_second(found.prefill_ms["none"]),
        "prefill_tokens_per_s_by_adapter": {spec: _per_second(found.prefill_ms[spec]) for spec in specs},
        "swap_ms": found.swap_ms.median,
        "load_ms": round(load_ms, 1),
        "peak_rss_mb": round(peak_bytes / 1e6, 1),
    }
    rows = [("adapter", "decode ms", "p10", "p90", "tokens/s", "ratio", "prefill tokens/s")]
    for spec in specs:
        times, prefill = found.decode_ms[spec], _per_second(found.prefill_ms[spec])
        speed, ratio = 1e3 / times.median, found.decode_ratio[spec]
        cells = (f"{times.median:.2f}", f"{times.p10:.2f}", f"{times.p90:.2f}", f"{speed:.1f}", f"{ratio:.3f}")
        rows.append((spec, *cells, f"{prefill:.0f}"))
    how = "edgelora-ops" if is_fused else "slots"
    tail = f"switch {found.swap_ms.median:.4f} ms, load {load_ms:.0f} ms, peak memory {payload['peak_rss_mb']} MB"
    emit(as_json, payload, [*table(rows), f"{tail}; adapters by {how}"])


def _per_second(times: Spread) -> float:
    return round(1e3 * PROMPT_TOKENS / times.median, 1)
