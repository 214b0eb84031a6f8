"""``edgelora adapter diff``: what two adapters do differently.

two adapter folders -> Difference, lines or JSON
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from edgelora.adapter.difference import Difference, ModuleDifference, find_difference
from edgelora.adapter.lineage import read_source
from edgelora.cli.output import Json, emit, table

_SHOWN = 6
_LONGEST = 40  # characters of a value in a line


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A PEFT folder.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same base.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Compare two adapters: sizes and directions of their deltas by kind of module, heads, configurations.

    Example: edgelora adapter diff adapters/legal adapters/legal-v2
    """
    found = find_difference(read_source(a), read_source(b))
    payload = {"a": str(a), "b": str(b), **dataclasses.asdict(found), "relative_distance": found.relative_distance}
    emit(as_json, payload, _lines(found, a, b))


def _lines(found: Difference, a: Path, b: Path) -> list[str]:
    apart = "" if found.relative_distance is None else f", {100 * found.relative_distance:.1f} % of A"
    lines = [
        f"A {a}: delta {found.norm_a:.4g}",
        f"B {b}: delta {found.norm_b:.4g}",
        f"distance {found.distance:.4g}{apart}; cosine {_told(found.cosine)}",
        *_kinds(found.modules),
    ]
    lines += [f"only in {who}: {_some(only)}" for who, only in (("A", found.only_a), ("B", found.only_b)) if only]
    lines += [
        f"head {name}: {'no pair' if off is None else f'{100 * off:.1f} % apart'}" for name, off in found.heads.items()
    ]
    lines += [f"{name}: {_short(one)} and {_short(other)}" for name, (one, other) in found.config.items()]
    lines += [f"base {name}: {_short(one)} and {_short(other)}" for name, (one, other) in found.base.items()]
    return lines


def _kinds(modules: Mapping[str, ModuleDifference]) -> list[str]:
    """Means over each kind of module, by the last part of its name."""
    kinds: dict[str, list[ModuleDifference]] = {}
    for module, item in modules.items():
        kinds.setdefault(module.rsplit(".", 1)[-1], []).append(item)
    rows: list[tuple[str, ...]] = [("kind", "modules", "delta of A", "delta of B", "distance", "cosine")]
    for kind, items in kinds.items():
        cosines = [item.cosine for item in items if item.cosine is not None]
        means = (fmean(getattr(item, key) for item in items) for key in ("norm_a", "norm_b", "distance"))
        told = _told(fmean(cosines) if cosines else None)
        rows.append((kind, str(len(items)), *(f"{value:.4g}" for value in means), told))
    return table(rows) if kinds else []


def _told(cosine: float | None) -> str:
    return "-" if cosine is None else f"{cosine:.3f}"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
