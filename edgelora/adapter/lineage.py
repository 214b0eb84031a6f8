"""Whether adapters may become one, and the receipt of what they became.

PEFT folder, weight -> Source, Receipt of the merged adapter
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora.adapter.combine import Combined
from edgelora.adapter.merge_options import MergeOptions
from edgelora.adapter.receipt import record_layers
from edgelora.errors import AdapterError, ConfigError
from edgelora.option import record_options
from edgelora_runtime.adapter import WEIGHTS_FILE, Adapter, read_adapter
from edgelora_runtime.adapter_config import read_fields
from edgelora_runtime.manifest import HeadInfo, file_info
from edgelora_runtime.receipt import (
    RECEIPT_FILE,
    ModuleCount,
    Receipt,
    find_other_factors,
    read_receipt,
)

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_AGREEING = ("task_type", "fan_in_fan_out")  # fields of PEFT that a merged adapter has one of
_LEAST_TEMPERATURE = 1e-6  # that a receipt may have
_READING = ("raw", "template_variables")  # how rows became prompts, as a receipt's training has it


@dataclass(frozen=True, eq=False)
class Source:
    """An adapter folder that is to be merged, read whole."""

    folder: Path
    adapter: Adapter
    config: Mapping[str, Any]  # as PEFT wrote it
    receipt: Receipt | None

    @property
    def name(self) -> str:
        """What people call it: the last part of its path."""
        return self.folder.resolve().name

    def record(self, weight: float) -> dict[str, Any]:
        """What names it in the receipt of the merged adapter."""
        receipt = self.folder / RECEIPT_FILE
        return {
            "name": self.name,
            "weight": weight,
            "weights": file_info(self.folder / WEIGHTS_FILE).sha256,
            "receipt": file_info(receipt).sha256 if self.receipt is not None else None,
        }


def split_weight(text: str) -> tuple[Path, float]:
    """``ADAPTER_DIR`` or ``ADAPTER_DIR:WEIGHT`` taken apart; raises ConfigError for a weight that is no number."""
    folder, colon, weight = text.rpartition(":")
    if not colon or Path(text).is_dir():
        return Path(text), 1.0
    if not folder or not _NUMBER.fullmatch(weight.strip()) or not math.isfinite(float(weight)):
        raise ConfigError(f"found {text!r}, expected ADAPTER_DIR or ADAPTER_DIR:WEIGHT, such as adapters/legal:0.5")
    return Path(folder), float(weight)


def read_source(folder: Path) -> Source:
    """Read a folder to merge; raises AdapterError when it cannot be read, or its receipt is of other factors."""
    adapter = read_adapter(folder, with_head=True)
    receipt = read_receipt(folder)
    if receipt is not None and (wrong := find_other_factors(receipt, folder, adapter.factors)):
        raise AdapterError(f"{folder}: {wrong}")
    return Source(folder, adapter, read_fields(folder), receipt)


def check_agree(sources: Sequence[Source]) -> None:
    """Raise AdapterError unless all are for one task, and all that have a receipt for one base, grid and template.

    Heads need labels that are known to be the same: a mean of heads for other labels would be none.
    """
    for field in _AGREEING:
        said = {source.name: source.config.get(field) for source in sources if source.config.get(field) is not None}
        _same(said, f"have another {field}", "merge adapters of one kind")
    acting = {source.name: ", ".join(map(str, source.adapter.invocation)) or "the start" for source in sources}
    _same(acting, "act from other token ids on", "merge adapters with one invocation, or with none")
    known = {source.name: source.receipt for source in sources if source.receipt is not None}
    bases = {name: f"{item.name or 'unnamed'} ({item.fingerprint[:12]})" for name, item in known.items()}
    _same(bases, "were trained for other bases", "merge adapters of one base")
    grids = {name: _short(item.grid) for name, item in known.items()}
    _same(grids, "were trained on other grids", "train them with the same --quant, --block-size and --quant-method")
    for what, hashes in (
        ("tokenizers", {name: item.tokenizer for name, item in known.items() if item.tokenizer}),
        ("chat templates", {name: item.chat_template for name, item in known.items() if item.chat_template}),
    ):
        _same({name: found[:12] for name, found in hashes.items()}, f"were trained with other {what}", "train again")
    for key in _READING:
        said = {name: item.training[key] for name, item in known.items() if key in item.training}
        _same(said, f"were trained with another {key.replace('_', ' ')}", "merge adapters that read rows alike")
    if not any(source.adapter.head for source in sources):
        return
    heads = {source.name: None if source.receipt is None else source.receipt.head for source in sources}
    if unknown := [name for name, head in heads.items() if head is None]:
        raise AdapterError(
            f"{unknown[0]} does not say what its head answers; write it a receipt with `edgelora adapter receipt`"
        )
    labels = {name: head.labels for name, head in heads.items() if head is not None}
    _same(labels, "have heads for other labels", "merge adapters with the same labels in the same order")
    problems = {name: head.problem_type for name, head in heads.items() if head is not None}
    _same(problems, "have heads for other problems", "merge adapters of one kind")


def check_base(source: Source, ours: Receipt) -> None:
    """Raise AdapterError where a receipt names another base or grid than ``ours``; without a receipt all goes."""
    theirs = source.receipt
    if theirs is None:
        return
    if theirs.fingerprint != ours.fingerprint:
        raise AdapterError(
            f"{source.folder} was trained on {theirs.name or 'unnamed'} ({theirs.fingerprint[:12]}), this is "
            f"{ours.name} ({ours.fingerprint[:12]}); give the base it was trained on"
        )
    if theirs.grid != ours.grid:
        raise AdapterError(
            f"{source.folder} was trained on another grid of {ours.name}: {_short(theirs.grid)}, this one is "
            f"{_short(ours.grid)}; give the --quant of its training"
        )


def merged_receipt(
    folder: Path,
    sources: Sequence[Source],
    records: Sequence[Mapping[str, Any]],
    made: Combined,
    options: MergeOptions,
    fit: Mapping[str, Any] | None = None,
) -> Receipt | None:
    """The receipt of the adapter that lies in ``folder``; None where no parent has one to say which base it is for.

    ``records`` name the parents, in order. Probes are for `adapter receipt`, which has the model.
    """
    known = [source.receipt for source in sources if source.receipt is not None]
    if not known:
        return None
    modules = made.adapter.factors
    said = {key: [item.training[key] for item in known if key in item.training] for key in (*_READING, "date")}
    training = {key: values[0] for key, values in said.items() if values and all(item == values[0] for item in values)}
    return Receipt(
        name=known[0].name,
        fingerprint=known[0].fingerprint,
        grid=known[0].grid,
        quantization=known[0].quantization,
        training={"lesson": "merge", **training},
        tokenizer=next((item.tokenizer for item in known if item.tokenizer), None),
        chat_template=next((item.chat_template for item in known if item.chat_template), None),
        weights=file_info(folder / WEIGHTS_FILE).sha256,
        modules=ModuleCount(len(modules), len(modules)),
        layers=record_layers(made.adapter, {}),
        head=_head(sources, [item["weight"] for item in records]) if made.adapter.head else None,
        parents={
            **dict.fromkeys(("density", "seed", "rank", "majority_sign_method")),
            **record_options(options),
            **({"seed": options.seed or 0} if options.rule.draws else {}),
            "relative_error": float(f"{made.relative_error:.4g}"),
            "fit": None if fit is None else dict(fit),
            "adapters": list(records),
        },
    )


def _head(sources: Sequence[Source], weights: Sequence[float]) -> HeadInfo | None:
    """The labels of all, with the mean of their temperatures by their share of the weights, as a blend has it."""
    heads = [source.receipt.head for source in sources if source.receipt is not None]
    mean = sum(weight * head.temperature for weight, head in zip(weights, heads, strict=True) if head) / sum(weights)
    return None if heads[0] is None else dataclasses.replace(heads[0], temperature=max(mean, _LEAST_TEMPERATURE))


def _same(said: Mapping[str, Any], what: str, advice: str) -> None:
    """Raise AdapterError naming the first two that differ."""
    (first, one), *others = [*said.items()] or [("", None)]
    for name, other in others:
        if other != one:
            raise AdapterError(f"{first} and {name} {what}: {_told(one)} and {_told(other)}; {advice}")


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _short(grid: str | None) -> str:
    return "the float weights" if grid is None else grid[:12]
