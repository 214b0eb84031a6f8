"""What a manifest's ``merged`` says, in lines for people.

the manifest's record of a merge -> lines
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


def merge_lines(merged: Mapping[str, Any] | None) -> list[str]:
    """Lines about what was merged and what is left of it; none without a merge."""
    if merged is None:
        return []
    lines = []
    if "layers" in merged:
        counts = Counter(str(item["choice"]) for item in merged["layers"].values())
        chosen = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
        lines.append(f"merged: layers {chosen}; KL {merged['kl']:.4f} of at most {merged['max_kl']:g} nats")
        for key, unit in (("mb", "MB"), ("ms", "ms a step")):
            if key in merged:
                lines.append(f"{unit}: " + ", ".join(f"{label} {value:g}" for label, value in merged[key].items()))
    if "survival" in merged:
        found, which = merged["survival"], "merging all would leave" if "layers" in merged else "the merge leaves"
        lines.append(
            f"survival: {which} a change that correlates {found['correlation']:.2f} with the adapter; "
            f"{100 * found['codes_changed']:.1f} % of the codes change, a step is {found['step_to_delta']:.1f} times "
            "the delta"
        )
    return lines
