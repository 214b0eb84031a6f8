"""The grid: which tensors of a checkpoint are quantized, and the exact values that then ship.

Knows nothing about training or graphs; both ask it for the same values, which is what makes them meet.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgelora.errors import ConfigError
from edgelora.quantize import dequantize, quantize
from edgelora.types import Checkpoint, FloatArray, QuantizedMatrix, QuantSpec

QUANT_LABELS = ("none", "fp16", "int8", "int4", "int2")
_TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")  # gpt2 keeps (in_features, out_features)
_LINEAR = re.compile(r"(_proj|\.c_attn|\.c_proj|\.c_fc|^lm_head)\.weight$")
_EMBEDDING = re.compile(r"(embed_tokens|wte)\.weight$")
_EMBEDDING_BITS = (4, 8)  # what GatherBlockQuantized reads


@dataclass(frozen=True)
class GridSpec:
    """A ``--quant`` choice: ``spec`` for integers, ``half`` for float16 storage, neither for float32."""

    label: str
    spec: QuantSpec | None
    half: bool = False


@dataclass(frozen=True)
class Grid:
    """A checkpoint together with the plan of its grid; tensors are computed when asked for."""

    checkpoint: Checkpoint
    plan: GridSpec
    specs: Mapping[str, QuantSpec]  # tensor name -> how it is quantized; tensors not named stay float

    def matrix(self, name: str) -> QuantizedMatrix:
        """Codes of a quantized tensor, rows = out_features; the file's own codes where they already are this grid."""
        spec = self.specs[name]
        packed = self.checkpoint.packed(name)
        if packed is not None and packed.spec == spec:
            return packed
        weight = self.checkpoint.read(name)
        return quantize(np.ascontiguousarray(weight.T) if is_transposed(name) else weight, spec)

    def value(self, name: str) -> FloatArray:
        """A tensor with the values that ship, in the orientation of the Hugging Face state dict."""
        if name in self.specs:
            weight = dequantize(self.matrix(name))
            return np.ascontiguousarray(weight.T) if is_transposed(name) else weight
        weight = self.checkpoint.read(name)
        if self.plan.half and weight.ndim == 2:
            return weight.astype(np.float16).astype(np.float32)
        return weight

    def fingerprint(self) -> str:
        """SHA-256 (hex) over names, packed codes, scales and zero points; over the floats of what stays float."""
        digest = GridDigest()
        for name in self.checkpoint.names():
            if name in self.specs:
                digest.add_matrix(name, self.matrix(name))
            else:
                digest.add_float(name, self.value(name))
        return digest.hexdigest()


class GridDigest:
    """SHA-256 over tensors given in sorted order of their names, so that one pass can both write and hash."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add_matrix(self, name: str, matrix: QuantizedMatrix) -> None:
        """Add a quantized tensor."""
        spec = matrix.spec
        self._hash.update(f"{name}|{spec.bits}|{spec.block_size}|{spec.symmetric}".encode())
        self._hash.update(np.ascontiguousarray(matrix.packed).data)
        self._hash.update(np.ascontiguousarray(matrix.scales).data)
        if matrix.zero_points is not None:
            self._hash.update(np.ascontiguousarray(matrix.zero_points).data)

    def add_float(self, name: str, value: FloatArray) -> None:
        """Add a tensor that stays float."""
        self._hash.update(f"{name}|float|{value.shape}".encode())
        self._hash.update(np.ascontiguousarray(value, np.float32).data)

    def hexdigest(self) -> str:
        """The fingerprint so far."""
        return self._hash.hexdigest()


def parse_quant(text: str, block_size: int = 32, symmetric: bool | None = None) -> GridSpec:
    """Read a ``--quant`` value; int2 is asymmetric unless said otherwise, int4 and int8 symmetric."""
    if text not in QUANT_LABELS:
        raise ConfigError(f"--quant is {text!r}; choose one of {', '.join(QUANT_LABELS)}")
    if text in ("none", "fp16"):
        return GridSpec(text, None, half=text == "fp16")
    bits = int(text.removeprefix("int"))
    return GridSpec(text, QuantSpec(bits, block_size, bits != 2 if symmetric is None else symmetric))


def plan_grid(checkpoint: Checkpoint, plan: GridSpec) -> Grid:
    """Choose a ``QuantSpec`` for every tensor that is to be quantized.

    Linears take ``plan.spec``. An embedding is read by ``GatherBlockQuantized``, which knows 4 and 8 bits and whole
    blocks alone: it takes at least 4 bits, and stays float where ``hidden_size`` is no multiple of ``block_size``. A
    tied head follows its embedding.
    """
    specs: dict[str, QuantSpec] = {}
    if plan.spec is not None:
        wide = QuantSpec(4, plan.spec.block_size, True) if plan.spec.bits not in _EMBEDDING_BITS else plan.spec
        for name in checkpoint.names():
            shape = checkpoint.shape(name)
            if len(shape) != 2:
                continue
            if _EMBEDDING.search(name):
                if shape[1] % plan.spec.block_size == 0:
                    specs[name] = wide
            elif _LINEAR.search(name):
                specs[name] = wide if name.startswith("lm_head") else plan.spec
    return Grid(checkpoint, plan, specs)


def is_transposed(name: str) -> bool:
    """True for the gpt2 tensors that are stored as (in_features, out_features)."""
    return _TRANSPOSED.search(name) is not None


def base_fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 (hex) of the base's float32 weights: the identity that an adapter is bound to."""
    digest = GridDigest()
    for name in checkpoint.names():
        digest.add_float(name, checkpoint.read(name))
    return digest.hexdigest()
