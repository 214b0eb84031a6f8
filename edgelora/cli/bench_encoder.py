"""``edgelora bench`` for a classifier, tagger or embedder.

artifact, options -> milliseconds as lines or JSON
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edgelora.cli.output import emit, table
from edgelora.cli.peak_memory import peak_rss_bytes
from edgelora.errors import InputError
from edgelora.evaluation.encoder_timing import ROWS, TEXT_TOKENS, rounds_with_warm_up, time_encoder
from edgelora_runtime import load
from edgelora_runtime.graph import default_threads
from edgelora_runtime.manifest import Manifest


def bench_encoder(
    artifact: Path,
    manifest: Manifest,
    adapter: Sequence[str] | None,
    threads: int | None,
    operator: bool | None,
    rounds: int,
    as_json: bool,
) -> None:
    """Measure a text with no adapter and with each, in turns; batches, every adapter at once, switching, loading."""
    started = time.perf_counter()
    model: Any = load(artifact, threads=threads, operator=operator)
    load_ms = 1e3 * (time.perf_counter() - started)
    names = list(adapter or [info.name for info in manifest.adapters])
    assert manifest.encoder is not None
    answers_alone = not manifest.encoder.head or manifest.encoder.base_head is not None
    specs = list(dict.fromkeys([*(["none"] if answers_alone else []), *names]))
    if not specs:
        raise InputError(f"{manifest.model.name} has no head of its own and no adapters; add one first")
    with tqdm(total=rounds_with_warm_up(rounds), desc="bench", unit="round", file=sys.stderr, disable=None) as bar:
        found = time_encoder(model, specs, rounds, bar.update)
    payload = {
        "threads": threads or default_threads(),
        "operator": model.is_fused,
        "text_ms": {spec: dataclasses.asdict(times) for spec, times in found.text_ms.items()},
        "ratio": dict(found.ratio),
        "batch_ms": {spec: dataclasses.asdict(times) for spec, times in found.batch_ms.items()},
        "each_ms": None if found.each_ms is None else found.each_ms.median,
        "swap_ms": found.swap_ms.median,
        "load_ms": round(load_ms, 1),
        "peak_rss_mb": round(peak_rss_bytes() / 1e6, 1),
    }
    images = bool(manifest.encoder.image_size)
    what = "image" if images else f"text of {min(TEXT_TOKENS, manifest.model.context_length)} tokens"
    rows = [("adapter", f"ms for one {what}", "p10", "p90", "ratio", "ms each in a batch")]
    for spec in specs:
        times = found.text_ms[spec]
        cells = (f"{times.median:.2f}", f"{times.p10:.2f}", f"{times.p90:.2f}", f"{found.ratio[spec]:.3f}")
        rows.append((spec, *cells, f"{found.batch_ms[spec].median:.2f}"))
    each = "" if found.each_ms is None else f"all {len(specs)} on one {what} {found.each_ms.median:.2f} ms, "
    tail = f"{each}switch {found.swap_ms.median:.4f} ms, load {load_ms:.0f} ms, peak memory {payload['peak_rss_mb']} MB"
    batch = "" if images else f"; a batch has {ROWS} texts"
    emit(
        as_json, payload, [*table(rows), f"{tail}; adapters by {'edgelora-ops' if model.is_fused else 'slots'}{batch}"]
    )
