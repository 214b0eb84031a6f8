"""Reads a PEFT folder for an artifact, whole and held to its receipt, or refuses it: the one check of every way in.

PEFT folder, Manifest -> Adapter
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import MappingProxyType

from edgelora_runtime.adapter import Adapter, fit_adapter, read_adapter
from edgelora_runtime.base_name import find_other_name
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.head import Tensors, find_untrained, find_wrong_head
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.receipt import find_mismatch, find_other_factors, read_receipt

_log = logging.getLogger(__name__)


def open_adapter(
    folder: Path,
    manifest: Manifest,
    where: str,
    *,
    base_head: Tensors = MappingProxyType({}),
    trust: bool = False,
    quiet: bool = False,
) -> Adapter:
    """The adapter in ``folder``; raises one AdapterError, which calls it ``where``, with everything that does not fit.

    ``base_head`` is what ``head.py`` reads of the artifact. ``trust`` leaves the receipt unread: which base, grid,
    tokenizer and template it names, and of which factors it is; and takes a head at its initial values. What the
    folder says and nobody reads is a warning, and so is a base of another name where there is no receipt;
    ``quiet`` leaves that to ``notes``.
    """
    if not manifest.slots:
        raise AdapterError(
            f"{where}: {manifest.model.name} was exported without slots and takes no adapters; export it again "
            "without --merge"
        )
    head = () if manifest.encoder is None else manifest.encoder.head
    adapter = read_adapter(folder, bool(head), with_gains=True)
    receipt = None if trust else read_receipt(folder)
    foreign = None if receipt is None else find_mismatch(receipt, manifest)
    told = (
        [f"its head does not fit: {join_some(lines)}"] if (lines := find_wrong_head(adapter, head, base_head)) else []
    )
    told += [foreign] if foreign else []
    if adapter.grid is not None and adapter.grid != manifest.base.grid:
        told.append(
            f"its DoRA was converted for grid {adapter.grid[:12]}, this artifact has {manifest.base.grid[:12]}; add it "
            "from the folder that PEFT saved"
        )
    if adapter.invocation and manifest.encoder is not None:
        told.append("it uses activated LoRA (alora_invocation_tokens), which only a decoder can run")
    elif (largest := max(adapter.invocation, default=-1)) >= manifest.model.vocab_size:
        told.append(
            f"its invocation has token {largest}, the vocabulary ends at "
            f"{manifest.model.vocab_size - 1}; use an adapter trained for this base"
        )
    try:
        fit_adapter(adapter, manifest.slots, where)
    except AdapterError as error:
        raise AdapterError("; ".join([str(error), *told])) from error
    if told:
        raise AdapterError(f"{where}: {'; '.join(told)}")
    if not trust and (untrained := find_untrained(adapter, head)):
        raise AdapterError(f"{where}: {untrained}")
    other = None if receipt is None else find_other_factors(receipt, folder, adapter.factors)
    if other:
        raise AdapterError(f"{where}: {other}")
    if not trust and receipt is None:
        adapter = _with_base_note(adapter, manifest)
    for note in () if quiet else adapter.notes:
        _log.warning("%s: %s", where, note)
    return adapter


def _with_base_note(adapter: Adapter, manifest: Manifest) -> Adapter:
    """With a note where the adapter names another base, and no receipt says that it is this one."""
    note = find_other_name(adapter.base, (manifest.model.name, manifest.base.source), "this artifact holds")
    return adapter if note is None else dataclasses.replace(adapter, notes=(*adapter.notes, note))
