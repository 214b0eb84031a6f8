"""Adapters that only weights can hold: DoRA, biases, modules trained whole, trained tokens, LoRA on tables.

Stored, Checkpoint -> Whole

No slot has a place for these: they are merged, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgelora.adapter.foreign.stored import Stored, number
from edgelora.checkpoint.names import HEAD, is_embedding, turned_shape, weight_of
from edgelora.errors import AdapterError, ArtifactError
from edgelora.values import Checkpoint, FloatArray
from edgelora_runtime.adapter import WEIGHTS_FILE, Factors
from edgelora_runtime.adapter_config import FORMS, changes_base, is_saved, read_fields
from edgelora_runtime.claims import is_target
from edgelora_runtime.safetensors import map_safetensors

_MERGED = ("use_dora", "lora_bias", "trainable_token_indices")
_FACTOR = re.compile(r"(?P<module>.+)\.(?P<kind>lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector)(?:\.weight)?")
_LORA_BIAS = ".lora_B.bias"
_TOKENS = ".token_adapter.trainable_tokens_delta"


@dataclass(frozen=True, eq=False)
class Whole:
    """What becomes of tensors of the base, by name."""

    factors: Mapping[str, Factors]  # what is added
    magnitudes: Mapping[str, FloatArray] = field(default_factory=dict)  # (out_features,), of each row of that sum
    values: Mapping[str, FloatArray] = field(default_factory=dict)  # what stands there instead


def needs_merge(folder: Path) -> bool:
    """Whether PEFT's folder holds more than slots can, all of which a merge may take; False where it is unreadable."""
    try:
        config = read_fields(folder)
        names = map_safetensors(folder / WEIGHTS_FILE)
    except (AdapterError, ArtifactError):
        return False
    if config.get("peft_type") != "LORA":
        return False
    saved = config.get("modules_to_save") or config.get("bias", "none") not in ("none", None)
    of_table = any(".lora_embedding_" in name or ".base_layer." in name for name in names)
    return bool(saved or of_table or any(config.get(form) for form in _MERGED))


def kinds_beside_lora(config: Mapping[str, Any]) -> list[str]:
    """What a merge into a decoder takes beside plain LoRA and whole modules, of what ``config`` says it has."""
    kinds = [FORMS[form] for form in _MERGED if config.get(form)]
    return kinds if (bias := config.get("bias") or "none") == "none" else [*kinds, f"bias {bias!r}"]


def read_whole(stored: Stored, checkpoint: Checkpoint) -> Whole:
    """All that the folder holds, tensor by tensor of ``checkpoint``; raises AdapterError for what fits nowhere."""
    config = stored.config
    start = config.get("init_lora_weights")
    wrong = [f"it uses {words}" for form, words in FORMS.items() if form not in _MERGED and config.get(form)]
    if config.get("alora_invocation_tokens"):
        wrong.append("it is an activated adapter (alora_invocation_tokens), which acts on some tokens alone")
    if isinstance(start, str) and changes_base(start):
        wrong.append(f"init_lora_weights is {start!r}, which changed the base")
    if wrong:
        raise stored.refused(wrong)
    return _Reader(stored, checkpoint).read()


class _Reader:
    """Goes through the tensors of a folder once."""

    def __init__(self, stored: Stored, checkpoint: Checkpoint) -> None:
        self._stored = stored
        self._checkpoint = checkpoint
        self._names = frozenset(checkpoint.names())
        self._saved = tuple(stored.config.get("modules_to_save") or ())
        self._sides: dict[str, dict[str, FloatArray]] = {}
        self._values: dict[str, FloatArray] = {}
        self._wrong: list[str] = []

    def read(self) -> Whole:
        for name, tensor in self._stored.tensors.items():
            found = _FACTOR.fullmatch(name)
            if found is not None:
                self._sides.setdefault(found["module"], {})[found["kind"]] = tensor
            elif name.endswith(_LORA_BIAS):
                self._shift(name.removesuffix(_LORA_BIAS), tensor)
            elif name.endswith(_TOKENS):
                self._tokens(name.removesuffix(_TOKENS), tensor)
            else:
                self._replace(name, tensor)
        factors, magnitudes = {}, {}
        for module, parts in self._sides.items():
            name = weight_of(module)
            item = self._factors(module, parts)
            if item is None or not self._is_known(name, (len(item.b), item.a.shape[1])):
                continue
            factors[name] = item
            if (magnitude := parts.get("lora_magnitude_vector")) is not None:
                magnitudes[name] = magnitude.reshape(-1)
            elif self._stored.config.get("use_dora"):
                self._wrong.append(f"{module}: lora_magnitude_vector is missing")
        if self._wrong:
            raise self._stored.refused(self._wrong)
        return Whole(factors, magnitudes, self._values)

    def _factors(self, module: str, parts: Mapping[str, FloatArray]) -> Factors | None:
        is_table = "lora_embedding_A" in parts
        kinds = ("lora_embedding_A", "lora_embedding_B") if is_table else ("lora_A", "lora_B")
        a, b = parts.get(kinds[0]), parts.get(kinds[1])
        rank = number(self._stored, "r", module, "rank_pattern")
        if a is None or b is None or a.ndim != 2 or b.ndim != 2 or (len(a), b.shape[1]) != (rank, rank):
            self._wrong.append(f"{module}: {kinds[0]} or {kinds[1]} is missing or not of rank {rank:g}")
            return None
        if is_table and "lora_magnitude_vector" in parts:
            self._wrong.append(f"{module}: DoRA of a table")
            return None
        scaling = self._scaling(module)
        if not is_table:
            return Factors(a, b, scaling)
        self._check_tied(module)
        return Factors(np.ascontiguousarray(b.T), np.ascontiguousarray(a.T), scaling)  # a table's rows are its inputs

    def _shift(self, module: str, bias: FloatArray) -> None:
        name = f"{module}.bias"
        if self._is_known(name, bias.shape):
            scaling = self._scaling(module)
            self._values[name] = self._value(name) + np.float32(scaling) * bias

    def _tokens(self, module: str, rows: FloatArray) -> None:
        """Rows of a table that were trained whole; those of a tied head are the same rows."""
        name, given = weight_of(module), self._stored.config.get("trainable_token_indices")
        if isinstance(given, dict):
            given = next((ids for ending, ids in given.items() if is_target(module, (ending,))), None)
        if name not in self._names or not isinstance(given, list) or len(given) != len(rows):
            self._wrong.append(f"{module}: {len(rows)} trained tokens, but the configuration or the base has others")
            return
        table = self._value(name).copy()
        table[given] = rows
        self._values[name] = table

    def _replace(self, stored_name: str, tensor: FloatArray) -> None:
        """A tensor that was trained whole, or one of the base's that was saved along."""
        name = stored_name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
        if name not in self._names or self._checkpoint.shape(name) != tensor.shape:
            self._wrong.append(f"{stored_name}: the base has no such tensor of that shape")
        elif is_saved(name, self._saved) or (name.endswith(".bias") and self._stored.config.get("bias") != "none"):
            self._check_tied(name.removesuffix(".weight"))
            self._values[name] = tensor
        elif not np.array_equal(self._checkpoint.read(name), tensor):
            self._wrong.append(f"{stored_name} is not the base's, and nothing says that it was trained")

    def _check_tied(self, module: str) -> None:
        if is_embedding(weight_of(module)) and HEAD not in self._names:
            self._wrong.append(f"{module} was trained apart from the head, which the base has tied to it")

    def _scaling(self, module: str) -> float:
        rank = number(self._stored, "r", module, "rank_pattern")
        alpha = number(self._stored, "lora_alpha", module, "alpha_pattern")
        return float(alpha / (np.sqrt(rank) if self._stored.config.get("use_rslora") else rank))

    def _value(self, name: str) -> FloatArray:
        return self._values.get(name, self._checkpoint.read(name))

    def _is_known(self, name: str, shape: tuple[int, ...]) -> bool:
        if name in self._names and turned_shape(name, self._checkpoint.shape(name)) == shape:
            return True
        found = self._checkpoint.shape(name) if name in self._names else None
        self._wrong.append(f"{name} is {'not in the base' if found is None else f'{found} there'}, here {shape}")
        return False
