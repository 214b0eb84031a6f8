"""What a manifest must hold to beyond the types of its fields: ranges, hashes, safe names, slots without gaps.

Manifest -> lines of what is wrong

``docs/format.md`` ("What a reader refuses") lists the same rules in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from edgelora_runtime.names import find_unsafe, has_control, is_adapter_name, is_hash, is_variable, shared_file
from edgelora_runtime.parse_json import show

if TYPE_CHECKING:
    from edgelora_runtime.manifest import AdapterInfo, FileInfo, HeadInfo, Manifest, Pieces

CACHES = ("float32", "int8")
STORES = ("float32", "float16", "int8")  # what the factors of an adapter were rounded to
TASKS = ("text-generation", "text-classification", "token-classification", "feature-extraction", "image-classification")
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
ENCODER_INPUTS = (("input_ids", "attention_mask"), ("pixel_values",))
DRIVEN = ("input_ids", "seqlens_k", "total_sequence_length", "logits_positions")  # inputs of every graph

PIECE_SIZES = (1 << 16, 1 << 26)  # bytes: worth a hash of their own, and little enough to hold in memory

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
LARGEST_HEAD = 1 << 16  # labels
LARGEST_FILE = (1 << 53) - 1  # bytes; the whole numbers that every language reads alike end here


def find_wrong(manifest: Manifest) -> Iterator[str]:
    """Every field whose value a runtime could not use, with what was expected."""
    if manifest.task not in TASKS:
        yield f"task is {show(manifest.task)}, expected one of {', '.join(TASKS)}"
        return
    yield from _model(manifest)
    yield from _files(manifest)
    yield from _slots(manifest)
    yield from _adapters(manifest)
    yield from find_wrong_encoder(manifest)
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
    yield from count("model: context_length", model.context_length, "context_length")
    for field in ("vocab_size", "num_layers", "num_kv_heads", "head_dim"):
        if manifest.task == TASKS[0] or (field == "vocab_size" and manifest.task != TASKS[-1]):
            yield from count(f"model: {field}", getattr(model, field), field)
        elif getattr(model, field) != 0:
            yield f"model: {field} is {show(getattr(model, field))}, expected 0 for the task {manifest.task}"
    for index, token in enumerate(model.eos_token_ids):
        if not 0 <= token < model.vocab_size:
            found = f"model: eos_token_ids[{index}] is {show(token)}"
            yield f"{found}, expected an id below the {show(model.vocab_size)} of the vocabulary"
    if manifest.graph.kv_cache not in CACHES:
        yield f"graph: kv_cache is {show(manifest.graph.kv_cache)}, expected {' or '.join(map(repr, CACHES))}"
    for field in ("fingerprint", "grid"):
        yield from _hash(f"base: {field}", getattr(manifest.base, field))


def find_wrong_file(name: str, info: FileInfo) -> Iterator[str]:
    """What is wrong of one entry of ``files``."""
    if why := find_unsafe(name):
        yield f"files: {show(name)} {why}"
    elif name == "manifest.json":
        yield "files: 'manifest.json' is listed in itself"
    if not 0 <= info.bytes <= LARGEST_FILE:
        yield f"files: {show(name)}: bytes is {show(info.bytes)}, expected 0 to {LARGEST_FILE}"
    yield from _hash(f"files: {show(name)}: sha256", info.sha256)
    if info.pieces is not None:
        yield from _pieces(f"files: {show(name)}: pieces", info.bytes, info.pieces)


def _files(manifest: Manifest) -> Iterator[str]:
    for name, info in manifest.files.items():
        yield from find_wrong_file(name, info)
    graph, tokenizer = manifest.graph, manifest.tokenizer
    named = {f"graph: {field}": getattr(graph, field) for field in ("file", "weights", "without_slots", "fused")}
    if tokenizer is not None:
        named |= {"tokenizer: file": tokenizer.file, "tokenizer: chat_template": tokenizer.chat_template}
    named["reference"] = manifest.reference
    if manifest.encoder is not None:
        named["encoder: head_file"] = manifest.encoder.head_file
    for field, file in named.items():
        if file is not None:
            yield from _listed(field, file, manifest)


def _pieces(field: str, size: int, pieces: Pieces) -> Iterator[str]:
    low, high = PIECE_SIZES
    if not low <= pieces.size <= high:
        yield f"{field}: size is {show(pieces.size)}, expected {low} to {high}"
    elif len(pieces.sha256) != -(-size // pieces.size):
        found = f"{field}: {len(pieces.sha256)} hashes"
        yield f"{found}, expected {show(-(-size // pieces.size))} for {show(size)} bytes"
    for index, text in enumerate(pieces.sha256):
        yield from _hash(f"{field}: sha256[{index}]", text)


def _adapters(manifest: Manifest) -> Iterator[str]:
    for index, info in enumerate(manifest.adapters):
        yield from find_wrong_adapter(index, info, manifest)
    yield from _twice("adapters: name", (info.name for info in manifest.adapters))


def find_wrong_adapter(index: int, info: AdapterInfo, manifest: Manifest) -> Iterator[str]:
    """What is wrong of one entry of ``adapters``."""
    where = f"adapters[{index}]"
    if not is_adapter_name(info.name):
        yield f"{where}: name {show(info.name)} is no adapter name"
    if info.path != f"adapters/{info.name}":
        yield f"{where}: path is {show(info.path)}, expected 'adapters/' and the name"
    else:
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            yield from _listed(f"{where}: path", f"{info.path}/{file}", manifest)
    if info.rank or info.head is None:  # a head alone has no factors
        yield from count(f"{where}: rank", info.rank, "rank")
    if info.store not in STORES:
        yield f"{where}: store is {show(info.store)}, expected {' or '.join(map(repr, STORES))}"
    if info.shared is not None:
        yield from _hash(f"{where}: shared", info.shared)
        yield from _listed(f"{where}: shared", f"adapters/{shared_file(info.shared)}", manifest)
    yield from find_wrong_head(f"{where}: head", info.head, manifest)


def _slots(manifest: Manifest) -> Iterator[str]:
    slots, encoder = manifest.slots, manifest.encoder
    for index, slot in enumerate(slots):
        where = f"slots[{index}]"
        for field in ("in_features", "out_features"):
            yield from count(f"{where}: {field}", getattr(slot, field), field)
        for field in ("name", "a", "b", "gain"):
            text = getattr(slot, field)
            if text is not None and (not text or has_control(text)):
                yield f"{where}: {field} is {show(text)}, expected a name without control characters"
        end = 0
        for number, part in enumerate(slot.parts):
            if not part.module or has_control(part.module):
                yield f"{where}: parts[{number}]: module is {show(part.module)}, expected the name of a module"
            yield from count(f"{where}: parts[{number}]: out_features", part.out_features, "out_features")
            if part.offset != end:
                yield f"{where}: parts[{number}]: offset is {show(part.offset)}, expected {show(end)}"
                break
            end += part.out_features
        else:
            if end != slot.out_features:
                yield f"{where}: parts end at {show(end)}, expected out_features {show(slot.out_features)}"
    yield from _twice("slots: name", (slot.name for slot in slots))
    inputs = [name for slot in slots for name in (slot.a, slot.b, slot.gain) if name is not None]
    driven = DRIVEN if encoder is None else (*encoder.inputs, *(item.input for item in encoder.head))
    yield from _twice("slots: input", (*driven, *inputs))
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


def count(field: str, value: int, kind: str) -> Iterator[str]:
    """A line where a count is out of the range of its ``kind``."""
    if not 1 <= value <= LARGEST[kind]:
        yield f"{field} is {show(value)}, expected 1 to {LARGEST[kind]}"


def _twice(field: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{field} {show(name)} stands twice" for name, count in Counter(names).items() if count > 1)


def find_wrong_encoder(manifest: Manifest) -> Iterator[str]:
    """What is wrong of a graph without a KV cache; every task but generation has one."""
    encoder = manifest.encoder
    if (encoder is None) != (manifest.task == TASKS[0]):
        found = "null" if encoder is None else "an object"
        yield f"encoder is {found}, which does not go with the task {manifest.task}"
    if encoder is None:
        return
    images = manifest.task == TASKS[-1]
    if encoder.inputs != ENCODER_INPUTS[images]:
        yield f"encoder: inputs are {show(list(encoder.inputs))}, expected {', '.join(ENCODER_INPUTS[images])}"
    embeds = manifest.task == TASKS[3]
    if encoder.output != ("embeddings" if embeds else "logits"):
        yield f"encoder: output is {show(encoder.output)}, expected {'embeddings' if embeds else 'logits'}"
    yield from count("encoder: hidden_size", encoder.hidden_size, "in_features")
    if len(encoder.image_size) != (3 if images else 0) or not all(1 <= size <= 65536 for size in encoder.image_size):
        yield f"encoder: image_size is {show(list(encoder.image_size))}, expected {'three' if images else 'no'} counts"
    if bool(encoder.head) == embeds:
        yield f"encoder: head has {len(encoder.head)} tensors, which does not go with the task {manifest.task}"
    for index, item in enumerate(encoder.head):
        where = f"encoder: head[{index}]"
        for field in ("tensor", "input"):
            text = getattr(item, field)
            if not text or has_control(text):
                yield f"{where}: {field} is {show(text)}, expected a name without control characters"
        if not 1 <= len(item.sizes) <= 2 or not all(0 <= size <= LARGEST["in_features"] for size in item.sizes):
            yield f"{where}: sizes are {show(list(item.sizes))}, expected one or two counts, 0 for the labels"
    yield from _twice("encoder: tensor", (item.tensor for item in encoder.head))
    if encoder.base_head is not None and encoder.head_file is None:
        yield "encoder: base_head is there, but head_file with its tensors is not"
    yield from find_wrong_head("encoder: base_head", encoder.base_head, manifest)


def find_wrong_head(where: str, head: HeadInfo | None, manifest: Manifest) -> Iterator[str]:
    """What is wrong of the labels of a head; a model that has no head has no labels."""
    if head is None:
        return
    if manifest.encoder is None or not manifest.encoder.head:
        yield f"{where} has labels, but the model has no head"
    if not 1 <= len(head.labels) <= LARGEST_HEAD:
        yield f"{where}: {len(head.labels)} labels, expected 1 to {LARGEST_HEAD}"
    for index, label in enumerate(head.labels):
        if not label or has_control(label):
            yield f"{where}: labels[{index}] is {show(label)}, expected a name without control characters"
    yield from _twice(f"{where}: label", head.labels)
    if head.problem_type not in PROBLEM_TYPES:
        yield f"{where}: problem_type is {show(head.problem_type)}, expected one of {', '.join(PROBLEM_TYPES)}"
    if not 1e-6 <= head.temperature <= 1e6:
        yield f"{where}: temperature is {show(head.temperature)}, expected 0.000001 to 1000000"
