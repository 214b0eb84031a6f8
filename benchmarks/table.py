"""The result of a benchmark run as a page of Markdown.

Knows nothing about how it was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelora.evaluation.timing import PROMPT_TOKENS


def write_table(result: Mapping[str, Any]) -> str:
    """Markdown with one table of times and one of single figures."""
    machine = result["machine"]
    lines = [
        f"# {result['model']}, {result['quantization']['label']}, {result['date']}",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, onnxruntime {machine['onnxruntime']}.",
        f"{result['rounds']} rounds in turns. Ratios are to the graph without slots; for decode the median of rounds.",
        "",
        "| threads | | decode ms (p10 to p90) | ratio | tokens/s | prefill tokens/s | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for threads, found in result["threads"].items():
        plain = next(iter(found["prefill_ms"].values()))["median"]
        for label, times in found["decode_ms"].items():
            prefill, ratio = found["prefill_ms"][label]["median"], found["decode_ratio"][label]
            spread = f"{times['median']:.2f} ({times['p10']:.2f} to {times['p90']:.2f})"
            speed, prefill_speed = 1e3 / times["median"], 1e3 * PROMPT_TOKENS / prefill
            cells = (spread, f"{ratio:.3f}", f"{speed:.1f}", f"{prefill_speed:.0f}", f"{prefill / plain:.3f}")
            lines.append(f"| {threads} | {label} | {' | '.join(cells)} |")
    export = result["export"]
    swaps = ", ".join(f"{found['swap_ms']['median']:.3f} ms" for found in result["threads"].values())
    lines += [
        "",
        "| | |",
        "|---|---|",
        f"| switch to a loaded adapter | {swaps} (threads {', '.join(result['threads'])}) |",
        f"| load the artifact | {result['load_ms']:.0f} ms |",
        f"| peak memory of `edgelora bench` | {result['peak_rss_mb']:.0f} MB |",
        f"| size of the artifact | {result['artifact_mb']} MB |",
        f"| export | {export['seconds']} s, {export['peak_mb']} MB ({export['peak_over_float32']} times float32) |",
        "",
    ]
    return "\n".join(lines)
