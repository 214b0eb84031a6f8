"""Reads a PEFT folder for an artifact, whole and held to its receipt, or refuses it: the one check of every way in.

PEFT folder, Manifest -> Adapter
"""

from __future__ import annotations

from pathlib import Path

from edgelora_runtime.adapter import Adapter, fit_adapter, read_adapter
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.receipt import find_mismatch, find_other_factors, read_receipt


def open_adapter(folder: Path, manifest: Manifest, where: str, *, trust: bool = False) -> Adapter:
    """The adapter in ``folder``; raises one AdapterError, which calls it ``where``, with everything that does not fit.

    ``trust`` leaves the receipt unread: which base, grid, tokenizer and template it names, and of which factors it is.
    """
    if not manifest.slots:
        raise AdapterError(
            f"{where}: {manifest.model.name} was exported without slots and takes no adapters; export it again "
            "without --merge"
        )
    adapter = read_adapter(folder)
    receipt = None if trust else read_receipt(folder)
    foreign = None if receipt is None else find_mismatch(receipt, manifest)
    try:
        fit_adapter(adapter, manifest.slots, where)
    except AdapterError as error:
        raise AdapterError(f"{error}; {foreign}" if foreign else str(error)) from error
    if foreign:
        raise AdapterError(f"{where}: {foreign}")
    other = None if receipt is None else find_other_factors(receipt, folder, adapter.factors)
    if other:
        raise AdapterError(f"{where}: {other}")
    return adapter
