"""The receipt of an adapter: on what it was trained, what is there of it, what it does; read, checked and written here.

receipt.json -> Receipt, and back

``docs/format.md`` ("Receipt") is the definition.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelora_runtime.adapter import WEIGHTS_FILE
from edgelora_runtime.check_receipt import find_wrong
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import HeadInfo, Manifest, file_info
from edgelora_runtime.parse_json import join_some, parse_json, show

RECEIPT_FILE = "receipt.json"
RECEIPT_VERSION = 1

_LONGEST = 32 << 20  # bytes; one of a thousand modules and ten probes has 0.5 MB
_SHOWN = 4
_NUMBERS = re.compile(r"\[\s+([-+.\deE,\s]+?)\s+\]")  # a list that json spread over many lines


@dataclass(frozen=True)
class ModuleCount:
    """How many of the base's modules that ``target_modules`` ask for have factors."""

    matched: int
    expected: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerRecord:
    """One module with factors. The last three say what merging would do to it; None where that was not measured."""

    rank: int
    effective_rank: float  # of the product, by the entropy of its singular values
    energy: Mapping[str, float]  # rank 1, 2, 4, ... as text -> share of the squared singular values up to there
    step_to_delta: float | None = None
    codes_changed: float | None = None
    correlation: float | None = None


@dataclass(frozen=True)
class TopTokens:
    """The likeliest tokens of a distribution, falling, with their natural log-probabilities."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Probe:
    """What base and adapted model answered to one built-in prompt where the receipt was written."""

    input_ids: tuple[int, ...]
    kl: float  # nats, base || adapted, after the prompt, over the whole vocabulary
    base: TopTokens
    adapted: TopTokens
    text: str | None = None  # None for pseudo-random ids
    greedy: tuple[int, ...] = ()  # the adapted model's first tokens
    base_greedy: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What an encoder gave for one built-in text where the receipt was written; of tags the numbers of every token."""

    input_ids: tuple[int, ...]
    output: tuple[float, ...]  # with the adapter
    base: tuple[float, ...]  # with its head and without its factors
    text: str | None = None


@dataclass(frozen=True)
class Receipt:
    """``grid`` is None when the adapter was trained on the float weights; ``training`` is a free record.

    What a receipt does not know is None or empty.
    """

    name: str  # of the base
    fingerprint: str  # of the base's float32 weights
    grid: str | None = None  # of the values that training multiplied with
    quantization: Mapping[str, Any] | None = None  # how that grid was made
    training: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = RECEIPT_VERSION
    tokenizer: str | None = None  # SHA-256 of tokenizer.json
    chat_template: str | None = None  # SHA-256 of the template
    weights: str | None = None  # SHA-256 of adapter_model.safetensors
    modules: ModuleCount | None = None
    merge: Mapping[str, Any] | None = None  # the bits, block_size and symmetry that merging was measured with
    layers: Mapping[str, LayerRecord] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    head: HeadInfo | None = None  # labels and calibration of the head that travels with the adapter
    answers: tuple[Answer, ...] = ()  # of tasks without a KV cache, in the place of probes
    truncation: Mapping[str, Any] | None = None  # what was cut after training, and its cost
    parents: Mapping[str, Any] | None = None  # the adapters that were merged into this one, and how
    conversion: Mapping[str, Any] | None = None  # how it became plain LoRA, and what that cost

    def to_json(self) -> str:
        """The receipt as it stands in ``receipt.json``."""
        data = dataclasses.asdict(self)
        data["base"] = {key: data.pop(key) for key in _OF_THE_BASE}
        text = json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
        return _NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


_OF_THE_BASE = ("name", "fingerprint", "grid", "tokenizer", "chat_template")


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of an adapter folder, None where none was written; raises AdapterError when it cannot be read."""
    path = folder / RECEIPT_FILE
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return parse_receipt(stream.read(_LONGEST + 1), str(path))


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Write ``receipt.json`` into an adapter folder."""
    write_atomically(folder / RECEIPT_FILE, receipt.to_json())


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
    base, modules = data["base"], data.get("modules")
    return Receipt(
        name=base.get("name", ""),
        **{key: base.get(key) for key in _OF_THE_BASE if key != "name"},
        quantization=data.get("quantization"),
        training=data.get("training") or {},
        format_version=version,
        weights=data.get("weights"),
        modules=None if modules is None else _build(ModuleCount, modules),
        merge=data.get("merge"),
        layers={module: _build(LayerRecord, layer) for module, layer in (data.get("layers") or {}).items()},
        probes=tuple(_build_probe(probe) for probe in data.get("probes") or ()),
        head=None if data.get("head") is None else _build(HeadInfo, data["head"]),
        answers=tuple(_build(Answer, answer) for answer in data.get("answers") or ()),
        truncation=data.get("truncation"),
        parents=data.get("parents"),
        conversion=data.get("conversion"),
    )


def find_mismatch(receipt: Receipt, manifest: Manifest) -> str | None:
    """Why an adapter with this receipt does not belong to an artifact; None when it does."""
    model, ours = manifest.model.name, manifest.base
    if receipt.fingerprint != ours.fingerprint:
        return (
            f"trained for another base: {receipt.name or 'unnamed'} ({receipt.fingerprint[:12]}), "
            f"this artifact holds {model} ({ours.fingerprint[:12]})"
        )
    if receipt.grid is not None and receipt.grid != ours.grid:
        return (
            f"trained on another grid of {model}: {_quantization(receipt)} ({receipt.grid[:12]}), this artifact "
            f"ships {ours.grid[:12]}; train it with the same --quant and --block-size as the export"
        )
    return _find_other_text(receipt, manifest)


def find_other_factors(receipt: Receipt, folder: Path, modules: Collection[str] | None = None) -> str | None:
    """Why the factors in ``folder`` (of ``modules``, where known) are not those of the receipt; None when they are."""
    missing = () if receipt.modules is None else receipt.modules.missing
    if missing:
        return f"its receipt lists {len(missing)} modules without factors: {_some(missing)}; train the adapter again"
    layers = receipt.layers
    if modules is not None and layers and layers.keys() != set(modules):
        lost, strange = sorted(layers.keys() - set(modules)), sorted(set(modules) - layers.keys())
        told = f"lacks {len(lost)} of the {len(layers)} modules of its receipt: {_some(lost)}" if lost else ""
        told += f"{'; ' if lost and strange else ''}has {len(strange)} unknown to it: {_some(strange)}" * bool(strange)
        return f"{WEIGHTS_FILE} {told}; copy the adapter again"
    if receipt.weights is not None:
        found = file_info(folder / WEIGHTS_FILE).sha256
        if found != receipt.weights:
            return (
                f"the receipt belongs to other factors: {WEIGHTS_FILE} has sha256 {found[:12]}, the receipt says "
                f"{receipt.weights[:12]}; copy the whole folder again"
            )
    return None


def hold_to_receipt(name: str, folder: Path, manifest: Manifest) -> Receipt | None:
    """The receipt of a loaded adapter, None where none was written; raises AdapterError where it is another's."""
    receipt = read_receipt(folder)
    if receipt is None:
        return None
    if wrong := find_mismatch(receipt, manifest) or find_other_factors(receipt, folder):
        raise AdapterError(f"adapter {name!r} ({folder}): {wrong}")
    return receipt


def hash_text(text: str) -> str:
    """SHA-256 (hex) of a text as UTF-8: the identity of a tokenizer or a chat template."""
    return hashlib.sha256(text.encode()).hexdigest()


def _find_other_text(receipt: Receipt, manifest: Manifest) -> str | None:
    """A tokenizer or chat template that differs; raw training saw no template, so any will do."""
    if manifest.tokenizer is None:
        return None
    shipped, training = manifest.tokenizer, receipt.training
    is_templated = shipped.chat_template is not None and not training.get("raw")
    texts = [("tokenizer", receipt.tokenizer, shipped.file)]
    if shipped.chat_template is not None and is_templated:
        texts.append(("chat template", receipt.chat_template, shipped.chat_template))
    for what, trained, name in texts:
        info = manifest.files.get(name)
        if trained is not None and info is not None and trained != info.sha256:
            return (
                f"trained with another {what} ({trained[:12]}), this artifact ships "
                f"{info.sha256[:12]}; train and export from the same checkpoint"
            )
    variables, ours = training.get("template_variables"), shipped.template_variables
    if is_templated and variables is not None and variables != dict(ours):
        return (
            f"trained with the template variables {_variables(variables)}, this artifact has {_variables(ours)}; "
            "give train and export the same --template-var"
        )
    return None


def _variables(values: Mapping[str, Any]) -> str:
    told = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(values.items())]
    return join_some(told, ", ") or "(none)"


def _quantization(receipt: Receipt) -> str:
    plain = {key: item for key, item in (receipt.quantization or {}).items() if item and item != "rtn"}
    told = [f"{key} {show(item)}" for key, item in sorted(plain.items()) if isinstance(item, (str, int))]
    return join_some(told, ", ").replace("'", "") or "not quantized"


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(list(names)[:_SHOWN]) + more


def _build(kind: type[Any], data: Mapping[str, Any]) -> Any:
    """An instance of a dataclass from checked JSON; keys that it has no field for are left out, lists become tuples."""
    known = {item.name for item in dataclasses.fields(kind)}
    return kind(**{key: tuple(item) if isinstance(item, list) else item for key, item in data.items() if key in known})


def _build_probe(data: Mapping[str, Any]) -> Probe:
    tops = {key: _build(TopTokens, data[key]) for key in ("base", "adapted")}
    probe: Probe = _build(Probe, {**data, "kl": float(data["kl"]), **tops})
    return probe
