"""The results of ``python -m benchmarks.peers`` as a page of Markdown.

Knows nothing about how anything was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.peers.figures import RATIOS, ratio_of, without_effect
from benchmarks.peers.turns import CONTEXT
from edgelora.evaluation.timing import spread

_EXTRAS = {
    "switch": "switch to an adapter that acted before",
    "bind": "switch to a loaded adapter for the first time",
    "load": "load an adapter of rank 16, its file in the page cache",
    "map": "the same with `cache=`, from the second time on",
}
_AIMS = {"edgelora, switch": "0.05 ms", "edgelora, load": "5 ms", "edgelora, map": "5 ms"}
_NOTES = """\
# The project and its peers

`python -m benchmarks.peers` (or `make bench-peers`) writes this page. Processes alternate: while one has its turn, the
others wait for a line of input. The prompt and the adapters' values are the same for all; an adapter that changes no
token of its engine is reported.

- llama.cpp's Q4_1 file is the very checkpoint; Q4_0 is the same with its matrices rounded once more, the Q8_0
  embedding kept. The bases with random weights have no Q4_1 file.
- onnxruntime-genai's builder quantizes the adapter to int4 together with the base; it can be neither switched nor
  taken off.
- PEFT with the adapter off still runs through its wrapped layers.
"""


def write_report(results: Mapping[str, Any]) -> str:
    """One section for each model, those measured last with their date."""
    lines = _NOTES.splitlines()
    for found in results["models"].values():
        lines += ["", *_section(found)]
    return "\n".join(lines) + "\n"


def _section(found: Mapping[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    yield f"## {found['model']}, int4, block 32, {found['date']}"
    yield ""
    yield f"{machine['cpu']}, {machine['cores']} cores. {', '.join(found['versions'].values())}."
    yield (
        f"{found['rounds']} rounds in turns; ratios are made round by round: median (10th to 90th percentile). "
        f"Decoding follows a prompt of {CONTEXT} tokens; times include the choice of the likeliest token. "
        f"Prefill is {found['prefill_tokens']} tokens at once."
    )
    for label in sorted({label for turns in found["threads"].values() for label in without_effect(turns)}):
        yield ""
        yield f"**{label}: the tokens are those without the adapter, so its figures say nothing.**"
    yield ""
    yield from _ratios(found["threads"])
    for threads, turns in found["threads"].items():
        yield ""
        yield from _times(threads, turns, found["prefill_tokens"])
    yield ""
    yield from _single(found)


def _ratios(by_threads: Mapping[str, Any]) -> Iterator[str]:
    yield "| ratio | aim | " + " | ".join(f"{threads} threads" for threads in by_threads) + " |"
    yield "|---|---|" + "---|" * len(by_threads)
    for ratio in RATIOS:
        cells = []
        for turns in by_threads.values():
            value = ratio_of(ratio, turns)
            cells.append("" if value is None else f"{value.median:.3f} ({value.p10:.3f} to {value.p90:.3f})")
        if any(cells):
            aim = "" if ratio.aim is None else f"{'≥' if ratio.higher_is_better else '≤'} {ratio.aim:.2f}"
            yield f"| {ratio.name} | {aim} | {' | '.join(cells)} |"


def _times(threads: str, turns: Mapping[str, Any], prefill_tokens: int) -> Iterator[str]:
    yield f"| {threads} threads | decode ms (p10 to p90) | prefill of {prefill_tokens}, tokens/s |"
    yield "|---|---|---|"
    for label, times in turns["decode_ms"].items():
        decode, prefill = spread(times), turns["prefill_ms"].get(label)
        speed = f"{1e3 * prefill_tokens / float(np.median(prefill)):.0f}" if prefill else ""
        yield f"| {label} | {decode.median:.2f} ({decode.p10:.2f} to {decode.p90:.2f}) | {speed} |"
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in turns["idle_share"].items())
    yield ""
    yield f"Processor time of each worker while others had their turn: {shares}."


def _single(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| | aim | found |"
    yield "|---|---|---|"
    extras, start, export = found["extras"], found["start"], found["export"]
    for name, times in extras.items():
        engine, _, what = name.partition(", ")
        yield f"| {engine}: {_EXTRAS[what]} | {_AIMS.get(name, '')} | {_ms(times)} |"
    yield f"| `import edgelora_runtime` | 0.15 s | {_seconds(start['import_s'])} |"
    yield f"| load the artifact | 0.4 s | {_seconds(start['load_s'])} |"
    yield f"| first text with an adapter after that | | {_seconds(start['first_text_s'])} |"
    yield f"| load the artifact with `cache=` | 0.4 s | {_seconds(found['cached_start']['load_s'])} |"
    memory = found["memory"]
    yield (
        f"| peak memory over artifact size, 1 adapter | 1.6 | {memory['peak_over_artifact']:.2f} "
        f"({memory['peak_mb']:.0f} MB over {memory['artifact_mb']:.1f} MB) |"
    )
    yield f"| the same with `cache=`, mapped pages included | 1.6 | {memory['cached_peak_over_artifact']:.2f} |"
    for name, megabytes in memory["peers_mb"].items():
        yield f"| peak memory of {name} | | {megabytes:.0f} MB |"
    yield f"| export | 8 s | {export['seconds']:.1f} s |"
    yield f"| export, peak memory over float32 size | 1.5 | {export['peak_over_float32']:.2f} |"
    for label, count in found["instructions"].items():
        share = count["own"] / (count["own"] + count["engine"])
        yield (
            f"| instructions of a token, {label} | | {count['engine'] / 1e6:.1f} million in onnxruntime, "
            f"{count['own'] / 1e6:.3f} million outside it ({100 * share:.2f} %) |"
        )
    for threads, limit in found["limits"].items():
        yield (
            f"| reading memory, {threads} threads | | {limit['read_gb_per_s']} GB/s over a token's bytes, "
            f"{limit['read_1gib_gb_per_s']} GB/s over 1 GiB |"
        )
        for label, token in limit["tokens"].items():
            yield (
                f"| bytes of a token, {label}, {threads} threads | | {token['weights_mb']} MB weights + "
                f"{token['adapter_mb']} MB adapter + {token['cache_mb']} MB cache: at least {token['least_ms']} ms |"
            )


def _ms(times: Sequence[float]) -> str:
    return f"{float(np.median(times)):.4g} ms"


def _seconds(times: Sequence[float]) -> str:
    return f"{float(np.median(times)):.3f} s ({min(times):.3f} to {max(times):.3f})"
