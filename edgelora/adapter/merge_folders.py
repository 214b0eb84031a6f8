"""Merges adapter folders into a new one, with a card and a receipt that name what it was made of.

PEFT folder of each parent, MergeOptions -> MergeResult, a PEFT folder
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora.adapter.card import write_card
from edgelora.adapter.combine import Combined, Parent, combine
from edgelora.adapter.lineage import Source, check_agree, merged_receipt, read_source
from edgelora.adapter.merge_options import MergeOptions
from edgelora.adapter.page import PAGE_FILE, headline, parent_lines, write_page
from edgelora.adapter.truncate import write_adapter
from edgelora.errors import ConfigError
from edgelora_runtime.files import replace_folder
from edgelora_runtime.receipt import write_receipt

_KEPT = (
    "base_model_name_or_path", "task_type", "fan_in_fan_out", "alora_invocation_tokens", "peft_version", "revision",
)  # fmt: skip


@dataclass(frozen=True)
class Weighed:
    """A folder with its weight, and where somebody found others for some modules, those and how to tell of them."""

    folder: Path
    weight: float = 1.0
    own: Mapping[str, float] | None = None  # module -> its weight
    layers: Mapping[str, float] | None = None  # the same by layer, for the receipt


@dataclass(frozen=True)
class MergeResult:
    """What a merge made."""

    adapter: Path
    method: str
    modules: int
    rank: int  # the largest of any module
    relative_error: float  # of the merged delta from the weighted sum
    has_receipt: bool  # False where no parent has one
    parents: tuple[Mapping[str, Any], ...]  # as the receipt names them
    fit: Mapping[str, Any] | None = None  # rows, steps, losses before and after


def read_sources(weighed: Sequence[Weighed]) -> list[Source]:
    """The folders, held to each other; raises AdapterError for what cannot be read or merged."""
    sources = [read_source(item.folder) for item in weighed]
    check_agree(sources)
    return sources


def check_free(out: Path) -> None:
    """Raise ConfigError where something is in the way of a new folder."""
    if out.exists():
        raise ConfigError(f"{out} exists; choose another folder")


def merge_folders(
    weighed: Sequence[Weighed], out: Path, options: MergeOptions, fit: Mapping[str, Any] | None = None
) -> MergeResult:
    """Write the merged adapter to ``out``, which must not exist; ``fit`` tells how the weights were found.

    Raises AdapterError for parents that do not agree, or a result that changes nothing.
    """
    check_free(out)
    sources = read_sources(weighed)
    names = _names(sources)
    made = combine(
        [
            Parent(name, source.adapter, item.weight, item.own or {})
            for name, source, item in zip(names, sources, weighed, strict=True)
        ],
        options,
    )
    records = [
        source.record(item.weight) | ({} if item.layers is None else {"layers": dict(item.layers)})
        for source, item in zip(sources, weighed, strict=True)
    ]
    with replace_folder(out) as fresh:
        write_adapter(fresh, made.adapter, _config(sources, made))
        receipt = merged_receipt(fresh, sources, records, made, options, fit)
        if receipt is not None:
            write_receipt(fresh, receipt)
            write_page(fresh, receipt)
        base = next((source.config["base_model_name_or_path"] for source in sources if _base(source)), "unknown")
        told = {"method": options.method, "adapters": records}
        lines = parent_lines(told if receipt is None else receipt.parents or told)
        lines += [] if receipt is None else [f"- [the receipt]({PAGE_FILE}) has its layers", *headline(receipt)]
        title = f"# Adapter for {base if receipt is None else receipt.name}"
        write_card(fresh, base, [title, "", "A LoRA adapter that PEFT opens, merged from others.", "", *lines])
    return MergeResult(
        out,
        options.method,
        len(made.adapter.factors),
        made.adapter.rank,
        made.relative_error,
        receipt is not None,
        tuple(records),
        fit,
    )


def _config(sources: Sequence[Source], made: Combined) -> dict[str, Any]:
    """PEFT's configuration of the result, without what narrowed parents to some modules."""
    found: dict[str, Any] = {}
    for source in reversed(sources):
        found |= {key: source.config[key] for key in _KEPT if source.config.get(key) is not None}
    targets = made.adapter.targets
    return found | {
        "target_modules": sorted(made.adapter.factors) if targets is None else _plain(targets),
        "modules_to_save": list(made.adapter.saved) or None,
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
    }


def _plain(targets: str | tuple[str, ...]) -> str | list[str]:
    return targets if isinstance(targets, str) else list(targets)


def _base(source: Source) -> bool:
    return bool(source.config.get("base_model_name_or_path"))


def _names(sources: Sequence[Source]) -> list[str]:
    """Names to tell them apart: the last parts of their paths, or whole paths where two are the same."""
    names = [source.name for source in sources]
    return names if len(set(names)) == len(names) else [str(source.folder) for source in sources]
