"""Writes the table of ``python -m benchmarks.encoders``.

its result -> Markdown
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

YARDSTICK = "full"
MEANING = {
    "full": "every weight trained in torch, float32",
    "probe": "a linear layer on the frozen encoder, torch",
    "lora-float": "LoRA on the float weights, exported in float",
    "grid-int8": "LoRA on the int8 values that ship",
    "grid-int4": "LoRA on the int4 values that ship",
    "merged-int8": "`lora-float` merged, then rounded to int8",
    "merged-int4": "`lora-float` merged, then rounded to int4",
}


def write_page(result: Mapping[str, Any]) -> str:
    """One table for each set."""
    lines = [f"# Encoders: {result['model']}", ""]
    how = (
        f"`python -m benchmarks.encoders`, or with `--sets` a part of it. Adapters have rank {result['rank']}. Scores "
    )
    how += (
        "are percent, the mean over the seeds with the lowest and the highest; points are those over *full*, seed by "
    )
    how += "seed. All but *full* and *probe* are exported artifacts in edgelora_runtime. Minutes are processor time of "
    how += "the training, all threads together; MB are what lies on disk, of an adapter together with its base, which "
    how += "others share."
    lines += [how, ""]
    for found in result["sets"].values():
        lines += [f"## {found['title']}", "", _told(found), "", *table(found), ""]
    return "\n".join(lines)


def _told(found: Mapping[str, Any]) -> str:
    """What was learned, and where."""
    ways = []
    for name, title in (("full", "full fine-tuning"), ("lora", "adapters")):
        how = found[name]
        dropout = "" if how["dropout"] is None else f" with dropout {how['dropout']:g}"
        ways.append(f"{title} {how['epochs']} times at {how['rate']:g}{dropout}")
    machine, seeds = found["machine"], ", ".join(map(str, found["seeds"]))
    return (
        f"{found['train']} rows learned, {found['heldout']} held out: {', '.join(ways)}. Seeds {seeds}. "
        f"{machine['cpu']}, onnxruntime {machine['onnxruntime']}, {found['date']}."
    )


def table(found: Mapping[str, Any]) -> list[str]:
    """Arms of one set, the lines of a Markdown table."""
    titles = [name.replace("_", " ").replace("f1", "F1") for name in found["figures"]]
    first = found["figures"][0]
    lines = [f"| arm | {titles[0]} | points over full | {titles[1]} | weights trained | minutes | MB |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    yard = found["arms"].get(YARDSTICK)
    for arm, items in found["arms"].items():
        values = [[100 * item["scores"][name] for item in items] for name in found["figures"]]
        over = "" if yard is None or arm == YARDSTICK else _points(items, yard, first)
        cells = [f"`{arm}`, {MEANING[arm]}", _spread(values[0]), over, _spread(values[1])]
        minutes, size = mean(item["cpu_minutes"] for item in items), items[0]["bytes"] / 1e6
        cells += [f"{items[0]['trained']:,}", f"{minutes:.1f}", f"{size:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _points(items: Sequence[Mapping[str, Any]], yard: Sequence[Mapping[str, Any]], name: str) -> str:
    differences = [100 * (a["scores"][name] - b["scores"][name]) for a, b in zip(items, yard, strict=True)]
    return f"{mean(differences):+.1f}"


def _spread(values: Sequence[float]) -> str:
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}"
