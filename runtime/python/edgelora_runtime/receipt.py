"""Read the receipt of an adapter folder and hold it to the artifact and to the factors beside it.

Knows nothing about sessions; ``docs/format.md`` ("Receipt") is the definition, ``probe.py`` replays its probes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from edgelora_runtime.adapter import WEIGHTS_FILE
from edgelora_runtime.check_receipt import find_wrong
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.manifest import Manifest, file_info
from edgelora_runtime.parse_json import join_some, parse_json, show

RECEIPT_FILE = "receipt.json"
RECEIPT_VERSION = 1
Receipt = Mapping[str, Any]  # as JSON holds it; every documented field is checked when it is read

_LONGEST = 32 << 20  # bytes; one of a thousand modules and ten probes has 0.5 MB
_SHOWN = 4


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of an adapter folder, None where none was written; raises AdapterError when it cannot be read."""
    path = folder / RECEIPT_FILE
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return parse_receipt(stream.read(_LONGEST + 1), str(path))


def parse_receipt(content: bytes, where: str = RECEIPT_FILE) -> Receipt:
    """The receipt that ``content`` is, every field of its documented type; raises AdapterError in one line."""
    data = parse_json(content, where, AdapterError, "train the adapter again or delete the file", _LONGEST)
    if not isinstance(data, dict) or not isinstance(data.get("base"), dict):
        raise AdapterError(f"{where} has no 'base'; expected a receipt written by `edgelora train`")
    version = data.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version != RECEIPT_VERSION:
        raise AdapterError(f"{where}: format_version is {show(version)}, the newest read here is {RECEIPT_VERSION}")
    if wrong := join_some(find_wrong(data)):
        raise AdapterError(f"{where}: {wrong}; write it anew with `edgelora adapter receipt`, or delete the file")
    return data


def find_mismatch(receipt: Receipt, manifest: Manifest) -> str | None:
    """Why an adapter with this receipt does not belong to an artifact; None when it does."""
    base, model, ours = receipt["base"], manifest.model.name, manifest.base
    if base["fingerprint"] != ours.fingerprint:
        return (
            f"trained for another base: {base.get('name') or 'unnamed'} ({base['fingerprint'][:12]}), "
            f"this artifact holds {model} ({ours.fingerprint[:12]})"
        )
    grid = base.get("grid")
    if grid is not None and grid != ours.grid:
        return (
            f"trained on another grid of {model}: {_describe(receipt)} ({grid[:12]}), this artifact "
            f"ships {ours.grid[:12]}; train it with the same --quant and --block-size as the export"
        )
    return _find_other_text(receipt, manifest)


def find_other_factors(receipt: Receipt, folder: Path, modules: Collection[str] | None = None) -> str | None:
    """Why the factors in ``folder`` (of ``modules``, where known) are not those of the receipt; None when they are."""
    counted = receipt.get("modules") or {}
    missing = counted.get("missing") or []
    if missing:
        return f"its receipt lists {len(missing)} modules without factors: {_some(missing)}; train the adapter again"
    layers = receipt.get("layers") or {}
    if modules is not None and layers and layers.keys() != set(modules):
        lost, strange = sorted(layers.keys() - set(modules)), sorted(set(modules) - layers.keys())
        told = f"lacks {len(lost)} of the {len(layers)} modules of its receipt: {_some(lost)}" if lost else ""
        told += f"{'; ' if lost and strange else ''}has {len(strange)} unknown to it: {_some(strange)}" * bool(strange)
        return f"{WEIGHTS_FILE} {told}; copy the adapter again"
    expected = receipt.get("weights")
    if expected is not None:
        found = file_info(folder / WEIGHTS_FILE).sha256
        if found != expected:
            return (
                f"the receipt belongs to other factors: {WEIGHTS_FILE} has sha256 {found[:12]}, the receipt says "
                f"{expected[:12]}; copy the whole folder again"
            )
    return None


def hash_text(text: str) -> str:
    """SHA-256 (hex) of a text as UTF-8: the identity of a tokenizer or a chat template."""
    return hashlib.sha256(text.encode()).hexdigest()


def _find_other_text(receipt: Receipt, manifest: Manifest) -> str | None:
    """A tokenizer or chat template that differs; raw training saw no template, so any will do."""
    if manifest.tokenizer is None:
        return None
    files = {"tokenizer": manifest.tokenizer.file}
    if manifest.tokenizer.chat_template is not None and not (receipt.get("training") or {}).get("raw"):
        files["chat_template"] = manifest.tokenizer.chat_template
    for key, name in files.items():
        trained, shipped = receipt["base"].get(key), manifest.files.get(name)
        if trained is not None and shipped is not None and trained != shipped.sha256:
            return (
                f"trained with another {key.replace('_', ' ')} ({trained[:12]}), this artifact ships "
                f"{shipped.sha256[:12]}; train and export from the same checkpoint"
            )
    training = receipt.get("training") or {}
    variables, ours = training.get("template_variables"), manifest.tokenizer.template_variables
    is_templated = manifest.tokenizer.chat_template is not None and not training.get("raw")
    if is_templated and variables is not None and variables != dict(ours):
        return (
            f"trained with the template variables {_variables(variables)}, this artifact has {_variables(ours)}; "
            "give train and export the same --template-var"
        )
    return None


def _variables(values: Mapping[str, Any]) -> str:
    told = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(values.items())]
    return join_some(told, ", ") or "(none)"


def _describe(receipt: Receipt) -> str:
    plain = {key: item for key, item in (receipt.get("quantization") or {}).items() if item and item != "rtn"}
    told = [f"{key} {show(item)}" for key, item in sorted(plain.items()) if isinstance(item, (str, int))]
    return join_some(told, ", ").replace("'", "") or "not quantized"


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(list(names)[:_SHOWN]) + more
