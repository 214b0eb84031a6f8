"""What a manifest must hold to beyond the types of its fields: ranges, hashes, safe names, slots without gaps.

Manifest -> lines of what is wrong

``docs/format.md`` ("What a reader refuses") lists the same rules in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from edgelora_runtime.names import find_unsafe, has_control, is_adapter_name, is_hash, is_variable
from edgelora_runtime.parse_json import show

if TYPE_CHECKING:
    from edgelora_runtime.manifest import Manifest, Slot

CACHES = ("float32", "int8")
STORES = ("float32", "float16", "int8")  # what the factors of an adapter were rounded to
DRIVEN = ("input_ids", "seqlens_k", "total_sequence_length", "logits_positions")  # inputs of every graph

# Beyond all models that there are, and small enough that nothing which is made of them ends a device.
LARGEST = {
    "vocab_size": 1 << 24,
    "num_layers": 4096,
    "num_kv_heads": 65536,
    "head_dim": 65536,
    "context_length": (1 << 31) - 1,
    "in_features": 1 << 24,
    "out_features": 1 << 24,
    "rank": 65536,
}
LARGEST_FILE = (1 << 53) - 1  # bytes; the whole numbers that every language reads alike end here


def find_wrong(manifest: Manifest) -> Iterator[str]:
    """Every field whose value a runtime could not use, with what was expected."""
    yield from _model(manifest)
    yield from _files(manifest)
    yield from _slots(manifest.slots)
    yield from _adapters(manifest)
    yield from _variables(() if manifest.tokenizer is None else manifest.tokenizer.template_variables)
    texts = {
        "producer": manifest.producer,
        "target": manifest.target,
        "model: name": manifest.model.name,
        "model: architecture": manifest.model.architecture,
    }
    for field, text in texts.items():
        if has_control(text):
            yield f"{field}: {show(text)} holds a control character"


def _model(manifest: Manifest) -> Iterator[str]:
    model = manifest.model
    for field in ("vocab_size", "num_layers", "num_kv_heads", "head_dim", "context_length"):
        yield from _count(f"model: {field}", getattr(model, field), field)
    for index, token in enumerate(model.eos_token_ids):
        if not 0 <= token < model.vocab_size:
            found = f"model: eos_token_ids[{index}] is {show(token)}"
            yield f"{found}, expected an id below the {show(model.vocab_size)} of the vocabulary"
    if manifest.graph.kv_cache not in CACHES:
        yield f"graph: kv_cache is {show(manifest.graph.kv_cache)}, expected {' or '.join(map(repr, CACHES))}"
    for field in ("fingerprint", "grid"):
        yield from _hash(f"base: {field}", getattr(manifest.base, field))


def _files(manifest: Manifest) -> Iterator[str]:
    for name, info in manifest.files.items():
        if why := find_unsafe(name):
            yield f"files: {show(name)} {why}"
        elif name == "manifest.json":
            yield "files: 'manifest.json' is listed in itself"
        if not 0 <= info.bytes <= LARGEST_FILE:
            yield f"files: {show(name)}: bytes is {show(info.bytes)}, expected 0 to {LARGEST_FILE}"
        yield from _hash(f"files: {show(name)}: sha256", info.sha256)
    graph, tokenizer = manifest.graph, manifest.tokenizer
    named = {f"graph: {field}": getattr(graph, field) for field in ("file", "weights", "without_slots", "fused")}
    if tokenizer is not None:
        named |= {"tokenizer: file": tokenizer.file, "tokenizer: chat_template": tokenizer.chat_template}
    named["reference"] = manifest.reference
    for field, file in named.items():
        if file is not None:
            yield from _listed(field, file, manifest)


def _adapters(manifest: Manifest) -> Iterator[str]:
    for index, info in enumerate(manifest.adapters):
        where = f"adapters[{index}]"
        if not is_adapter_name(info.name):
            yield f"{where}: name {show(info.name)} is no adapter name"
        if info.path != f"adapters/{info.name}":
            yield f"{where}: path is {show(info.path)}, expected 'adapters/' and the name"
        else:
            for file in ("adapter_config.json", "adapter_model.safetensors"):
                yield from _listed(f"{where}: path", f"{info.path}/{file}", manifest)
        yield from _count(f"{where}: rank", info.rank, "rank")
        if info.store not in STORES:
            yield f"{where}: store is {show(info.store)}, expected {' or '.join(map(repr, STORES))}"
    yield from _twice("adapters: name", (info.name for info in manifest.adapters))


def _slots(slots: Iterable[Slot]) -> Iterator[str]:
    for index, slot in enumerate(slots):
        where = f"slots[{index}]"
        for field in ("in_features", "out_features"):
            yield from _count(f"{where}: {field}", getattr(slot, field), field)
        for field in ("name", "a", "b"):
            text = getattr(slot, field)
            if not text or has_control(text):
                yield f"{where}: {field} is {show(text)}, expected a name without control characters"
        end = 0
        for number, part in enumerate(slot.parts):
            if not part.module or has_control(part.module):
                yield f"{where}: parts[{number}]: module is {show(part.module)}, expected the name of a module"
            yield from _count(f"{where}: parts[{number}]: out_features", part.out_features, "out_features")
            if part.offset != end:
                yield f"{where}: parts[{number}]: offset is {show(part.offset)}, expected {show(end)}"
                break
            end += part.out_features
        else:
            if end != slot.out_features:
                yield f"{where}: parts end at {show(end)}, expected out_features {show(slot.out_features)}"
    yield from _twice("slots: name", (slot.name for slot in slots))
    inputs = [name for slot in slots for name in (slot.a, slot.b)]
    yield from _twice("slots: input", (*DRIVEN, *inputs))
    yield from _twice("slots: module", (part.module for slot in slots for part in slot.parts))


def _variables(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if not is_variable(name):
            yield f"tokenizer: template_variables: {show(name)} is no name of a variable that can be set"


def _listed(field: str, name: str, manifest: Manifest) -> Iterator[str]:
    if why := find_unsafe(name):
        yield f"{field}: {show(name)} {why}"
    elif name not in manifest.files:
        yield f"{field}: {show(name)} is not listed in files"


def _hash(field: str, text: str) -> Iterator[str]:
    if not is_hash(text):
        yield f"{field} is {show(text)}, expected 64 lower-case hexadecimal digits"


def _count(field: str, value: int, kind: str) -> Iterator[str]:
    if not 1 <= value <= LARGEST[kind]:
        yield f"{field} is {show(value)}, expected 1 to {LARGEST[kind]}"


def _twice(field: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{field} {show(name)} stands twice" for name, count in Counter(names).items() if count > 1)
