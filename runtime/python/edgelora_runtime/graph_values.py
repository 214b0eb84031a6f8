"""Says what the graphs of an artifact take and give: names, types and sizes.

Manifest, form of the graph -> ValueType of each input and output
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgelora_runtime.fused import BLOCKS, FACTORS, WEIGHTS
from edgelora_runtime.graph import ValueType
from edgelora_runtime.manifest import INT8_CACHE, TOKEN_CLASSIFICATION, EncoderInfo, HeadTensor, Manifest, Slot

Form = Literal["without slots", "slots", "fused"]

_COUNTERS = {
    "input_ids": ValueType("tensor(int64)", (None, None)),
    "seqlens_k": ValueType("tensor(int32)", (None,)),
    "total_sequence_length": ValueType("tensor(int32)", ()),
    "logits_positions": ValueType("tensor(int64)", (None, None)),
}


@dataclass(frozen=True)
class GraphValues:
    """What one graph has to have."""

    inputs: Mapping[str, ValueType]
    outputs: Mapping[str, ValueType]


def cache_names(manifest: Manifest) -> list[tuple[str, str]]:
    """Past and present of key and value of each layer."""
    return [
        (f"past_key_values.{layer}.{part}", f"present.{layer}.{part}")
        for layer in range(manifest.model.num_layers)
        for part in ("key", "value")
    ]


def graph_values(manifest: Manifest, form: Form) -> GraphValues:
    """Inputs and outputs of the graph of that form."""
    if manifest.encoder is not None:
        return _encoder_values(manifest, manifest.encoder, form)
    model, names = manifest.model, cache_names(manifest)
    numbers = "int8" if manifest.graph.kv_cache == INT8_CACHE else "float"
    kept = ValueType(f"tensor({numbers})", (None, model.num_kv_heads, None, model.head_dim))
    inputs = _COUNTERS | {past: kept for past, _ in names} | _adapter_values(manifest, form)
    logits = ValueType("tensor(float)", (None, None, model.vocab_size))
    return GraphValues(inputs, {"logits": logits} | {present: kept for _, present in names})


def _encoder_values(manifest: Manifest, encoder: EncoderInfo, form: Form) -> GraphValues:
    pixels = ValueType("tensor(float)", (None, *encoder.image_size))
    inputs = dict.fromkeys(encoder.inputs, pixels if encoder.image_size else _COUNTERS["input_ids"])
    inputs |= _adapter_values(manifest, form) | {item.input: _head_value(item) for item in encoder.head}
    sizes: dict[str, tuple[int | None, ...]] = {
        "embeddings": (None, encoder.hidden_size),
        "logits": (None,) * (3 if manifest.task == TOKEN_CLASSIFICATION else 2),
    }
    return GraphValues(inputs, {encoder.output: ValueType("tensor(float)", sizes[encoder.output])})


def _head_value(item: HeadTensor) -> ValueType:
    into, out = (item.sizes[1], item.sizes[0]) if len(item.sizes) == 2 else (1, item.sizes[0])
    return ValueType("tensor(float)", (None, into or None, out or None))


def _adapter_values(manifest: Manifest, form: Form) -> dict[str, ValueType]:
    inputs: dict[str, ValueType] = {}
    for slot in manifest.slots if form == "slots" else ():
        inputs |= _slot_values(slot)
    if form == "fused":
        inputs[FACTORS] = ValueType("tensor(uint8)", (None,))
        inputs[BLOCKS] = ValueType("tensor(int64)", (None, None, len(manifest.slots)))
        inputs[WEIGHTS] = ValueType("tensor(float)", (None, None))
    return inputs


def graph_file(manifest: Manifest, form: Form) -> str:
    """The file of the graph of that form; of the one with slots where there is no other."""
    info = manifest.graph
    twin = {"without slots": info.without_slots, "slots": None, "fused": info.fused}[form]
    return info.file if twin is None else twin


def _slot_values(slot: Slot) -> dict[str, ValueType]:
    values = {
        slot.a: ValueType("tensor(float)", (None, slot.in_features, None)),
        slot.b: ValueType("tensor(float)", (None, None, slot.out_features)),
    }
    if slot.gain is not None:
        values[slot.gain] = ValueType("tensor(float)", (None, 1, slot.out_features))
    return values
