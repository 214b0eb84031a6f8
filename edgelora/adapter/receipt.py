"""The receipt of an adapter: on what it was trained, how much of it is there, and what it does.

Knows nothing about how any of this is measured; a receipt is written into an adapter folder and read from one.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelora.errors import AdapterError
from edgelora_runtime.files import write_atomically
from edgelora_runtime.receipt import RECEIPT_FILE, RECEIPT_VERSION
from edgelora_runtime.receipt import read_receipt as read_json

_NUMBERS = re.compile(r"\[\s+([-+.\deE,\s]+?)\s+\]")  # a list that json spread over many lines


@dataclass(frozen=True)
class ModuleCount:
    """How many of the base's modules that ``target_modules`` ask for have factors."""

    matched: int
    expected: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerRecord:
    """One adapted module. The last three say what merging would do to it; None where that was not measured."""

    rank: int
    effective_rank: float  # of the product, by the entropy of its singular values
    energy: Mapping[str, float]  # rank 1, 2, 4, ... as text -> share of the squared singular values up to there
    step_to_delta: float | None = None
    codes_changed: float | None = None
    correlation: float | None = None


@dataclass(frozen=True)
class TokenRecord:
    """The likeliest tokens of a distribution, falling, with their natural log-probabilities."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class ProbeRecord:
    """What base and adapted model answer to one built-in prompt."""

    text: str | None
    input_ids: tuple[int, ...]
    greedy: tuple[int, ...]  # the adapted model's first tokens
    base_greedy: tuple[int, ...]
    kl: float  # nats, base || adapted, after the prompt
    adapted: TokenRecord
    base: TokenRecord


@dataclass(frozen=True)
class Receipt:
    """``grid`` is None when the adapter was trained on the float weights; ``training`` is a free record.

    What a receipt does not know is None or empty.
    """

    name: str  # of the base
    fingerprint: str  # of the base's float32 weights
    grid: str | None = None  # of the values that training multiplied with
    quantization: Mapping[str, Any] | None = None  # as Grid.describe gives it
    training: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = RECEIPT_VERSION
    tokenizer: str | None = None  # SHA-256 of tokenizer.json
    chat_template: str | None = None  # SHA-256 of the template
    weights: str | None = None  # SHA-256 of adapter_model.safetensors
    modules: ModuleCount | None = None
    merge: Mapping[str, Any] | None = None  # the bits, block_size and symmetry that merging was measured with
    layers: Mapping[str, LayerRecord] = field(default_factory=dict)
    probes: tuple[ProbeRecord, ...] = ()
    truncation: Mapping[str, Any] | None = None  # what was cut after training, and its cost

    def to_json(self) -> str:
        """The receipt as it stands in ``receipt.json``."""
        base = {key: getattr(self, key) for key in ("name", "fingerprint", "grid", "tokenizer", "chat_template")}
        data = {
            "format_version": self.format_version,
            "base": base,
            "quantization": None if self.quantization is None else dict(self.quantization),
            "training": dict(self.training),
            "weights": self.weights,
            "modules": None if self.modules is None else dataclasses.asdict(self.modules),
            "merge": None if self.merge is None else dict(self.merge),
            "layers": {module: dataclasses.asdict(layer) for module, layer in self.layers.items()},
            "probes": [dataclasses.asdict(probe) for probe in self.probes],
            "truncation": None if self.truncation is None else dict(self.truncation),
        }
        text = json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
        return _NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Write ``receipt.json`` into an adapter folder."""
    write_atomically(folder / RECEIPT_FILE, receipt.to_json())


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of an adapter folder, None where none was written; raises AdapterError when it cannot be read."""
    data = read_json(folder)
    if data is None:
        return None
    base = data["base"]
    try:
        return Receipt(
            name=base.get("name", ""),
            fingerprint=base["fingerprint"],
            grid=base.get("grid"),
            quantization=data.get("quantization"),
            training=data.get("training") or {},
            format_version=data["format_version"],
            tokenizer=base.get("tokenizer"),
            chat_template=base.get("chat_template"),
            weights=data.get("weights"),
            modules=None if data.get("modules") is None else _read_modules(data["modules"]),
            merge=data.get("merge"),
            layers={module: _read_layer(layer) for module, layer in (data.get("layers") or {}).items()},
            probes=tuple(_read_probe(probe) for probe in data.get("probes") or ()),
            truncation=data.get("truncation"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AdapterError(
            f"{folder / RECEIPT_FILE} cannot be used ({error!r}); write it anew with `edgelora adapter receipt`"
        ) from error


def _read_modules(data: Mapping[str, Any]) -> ModuleCount:
    return ModuleCount(int(data["matched"]), int(data["expected"]), tuple(data.get("missing", ())))


def _read_layer(data: Mapping[str, Any]) -> LayerRecord:
    known = {item.name for item in dataclasses.fields(LayerRecord)}
    return LayerRecord(**{key: value for key, value in data.items() if key in known})


def _read_probe(data: Mapping[str, Any]) -> ProbeRecord:
    return ProbeRecord(
        text=data.get("text"),
        input_ids=tuple(data["input_ids"]),
        greedy=tuple(data.get("greedy", ())),
        base_greedy=tuple(data.get("base_greedy", ())),
        kl=float(data["kl"]),
        adapted=_read_tokens(data["adapted"]),
        base=_read_tokens(data["base"]),
    )


def _read_tokens(data: Mapping[str, Any]) -> TokenRecord:
    return TokenRecord(tuple(data["ids"]), tuple(data["logprobs"]))
