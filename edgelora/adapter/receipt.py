"""The receipt of an adapter: on which base, and on which values of it, the adapter was trained.

Knows nothing about the factors themselves; training writes a receipt, adding an adapter to an artifact compares it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelora.errors import AdapterError
from edgelora_runtime.manifest import BaseInfo

RECEIPT_FILE = "receipt.json"
RECEIPT_VERSION = 1


@dataclass(frozen=True)
class Receipt:
    """``grid`` is None when the adapter was trained on the float weights; ``training`` is a free record."""

    name: str  # of the base
    fingerprint: str  # of the base's float32 weights
    grid: str | None = None  # of the values that training multiplied with
    quantization: Mapping[str, Any] | None = None  # bits, block_size, symmetric
    training: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = RECEIPT_VERSION

    def to_json(self) -> str:
        """The receipt as it stands in ``receipt.json``."""
        data = {
            "format_version": self.format_version,
            "base": {"name": self.name, "fingerprint": self.fingerprint, "grid": self.grid},
            "quantization": None if self.quantization is None else dict(self.quantization),
            "training": dict(self.training),
        }
        return json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Write ``receipt.json`` into an adapter folder, under a temporary name first."""
    temporary = folder / f".{RECEIPT_FILE}.{os.getpid()}"
    temporary.write_text(receipt.to_json(), encoding="utf-8")
    temporary.replace(folder / RECEIPT_FILE)


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of an adapter folder, None where none was written; raises AdapterError when it cannot be read."""
    path = folder / RECEIPT_FILE
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise AdapterError(f"{path} is not JSON ({error}); train the adapter again or delete the file") from error
    if not isinstance(data, dict) or not isinstance(data.get("base"), dict):
        raise AdapterError(f"{path} has no 'base'; expected a receipt written by `edgelora train`")
    version = data.get("format_version")
    if not isinstance(version, int) or version > RECEIPT_VERSION:
        raise AdapterError(f"{path}: format_version is {version!r}, the newest read here is {RECEIPT_VERSION}")
    base, quantization, training = data["base"], data.get("quantization"), data.get("training", {})
    name, fingerprint, grid = base.get("name", ""), base.get("fingerprint"), base.get("grid")
    if not isinstance(fingerprint, str) or not isinstance(name, str) or not isinstance(grid, str | None):
        raise AdapterError(f"{path}: base needs the texts 'name' and 'fingerprint', and 'grid' as text or null")
    if not isinstance(quantization, dict | None) or not isinstance(training, dict):
        raise AdapterError(f"{path}: quantization is an object or null, training an object")
    return Receipt(name, fingerprint, grid, quantization, training, version)


def compare_receipt(receipt: Receipt, base: BaseInfo, model_name: str) -> str | None:
    """Why an adapter with this receipt does not belong to a base; None when it does."""
    if receipt.fingerprint != base.fingerprint:
        return (
            f"trained for another base: {receipt.name or 'unnamed'} ({receipt.fingerprint[:12]}), "
            f"this artifact holds {model_name} ({base.fingerprint[:12]})"
        )
    if receipt.grid is not None and receipt.grid != base.grid:
        return (
            f"trained on another grid of {model_name}: {_describe(receipt)} ({receipt.grid[:12]}), this artifact "
            f"ships {base.grid[:12]}; train it with the same --quant and --block-size as the export"
        )
    return None


def _describe(receipt: Receipt) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted((receipt.quantization or {}).items())) or "not quantized"
