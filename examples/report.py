"""What the demonstration says at its end: one table, and whether the adapters clearly beat the base.

Knows nothing about how the numbers came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Column heading, data set, name in the output of `edgelora eval --json`.
SCORES = (
    ("addresses: exact match", "addresses", "exact_match"),
    ("field F1", "addresses", "field_f1"),
    ("valid JSON", "addresses", "json_valid"),
    ("ICD: accuracy", "icd", "accuracy"),
    ("macro F1", "icd", "macro_f1"),
)
# (adapter, score, how much better than the base it must be); chance is 1 in 22 for ICD and next to 0 for addresses.
AIMS = (("addresses", "exact_match", 0.2), ("addresses", "field_f1", 0.2), ("icd", "accuracy", 0.2))
NAMES = {"none": "base", "addresses": "addresses adapter", "icd": "icd adapter"}

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]  # adapter -> data set -> output of eval


def judge(scores: Scores) -> list[str]:
    """What falls short, one line each; empty when every adapter beats the base on its own data."""
    short = []
    for adapter, score, margin in AIMS:
        base, found = float(scores["none"][adapter][score]), float(scores[adapter][adapter][score])
        if found < base + margin:
            short.append(f"{adapter} {score} is {found:.3f}, expected at least {margin} over the base's {base:.3f}")
    return short


def table_lines(results: Mapping[str, Any]) -> list[str]:
    """Scores of the base and of each adapter on both held-out sets, then sizes and speed."""
    rows = [["", *(heading for heading, _, _ in SCORES)]]
    for adapter, scores in results["scores"].items():
        rows.append([NAMES[adapter], *(_percent(scores[data].get(score)) for _, data, score in SCORES)])
    counts = {data: scores["n"] for data, scores in results["scores"]["none"].items()}
    lines = [*align(rows), f"held-out rows: {counts['addresses']} addresses, {counts['icd']} clinical terms", ""]

    bench, sizes = results["bench"], results["bytes"]
    facts = [["int4 artifact without adapters", _megabytes(sizes["base"])]]
    facts += [[f"{NAMES[name]}", _megabytes(size)] for name, size in sizes.items() if name != "base"]
    facts += [["switch to a loaded adapter", f"{_median(bench['swap_ms']):.3f} ms"]]
    for name, decode in bench["decode_ms"].items():
        facts.append([f"decode, {NAMES.get(name, name)}", f"{1000 / decode['median']:.1f} tokens/s"])
    facts.append(["prefill", f"{_median(bench['prefill_tokens_per_s']):.0f} tokens/s"])
    return lines + align(facts)


def _median(value: float | Mapping[str, float]) -> float:
    """A plain number, or the median of a measurement."""
    return float(value["median"]) if isinstance(value, Mapping) else float(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """First column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
