"""What the name of a tensor says: whether it is a linear, a table, stored the other way around, and who reads with it.

tensor's name -> what it is, module's name
"""

from __future__ import annotations

import re
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Value = TypeVar("Value", bound=np.generic)

# Linears of a layer that read the same input: they are packed into one, get their bits together, and may share an A.
ONE_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))

HEAD = "lm_head.weight"

_TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")  # gpt2 keeps (in_features, out_features)
_LINEAR = re.compile(r"((_proj|\.c_attn|\.c_proj|\.c_fc)\.weight|^lm_head\.weight)$")
_EMBEDDING = re.compile(r"(embed_tokens|wte)\.weight$")


def is_linear(name: str) -> bool:
    """True for the weight of a linear, a head of its own included."""
    return _LINEAR.search(name) is not None


def is_embedding(name: str) -> bool:
    """True for the table that token ids index; position tables stay float and are none."""
    return _EMBEDDING.search(name) is not None


def is_layer_linear(name: str) -> bool:
    """True for the linears of the decoder layers, the ones that calibration watches; the head is none."""
    return name != HEAD and is_linear(name)


def is_vocabulary(name: str) -> bool:
    """The embedding and the head: read as at least 4 bits, and no linear of the decoder layers."""
    return is_embedding(name) or name == HEAD


def is_transposed(name: str) -> bool:
    """True for the gpt2 tensors that are stored as (in_features, out_features)."""
    return _TRANSPOSED.search(name) is not None


def turned(name: str, matrix: npt.NDArray[Value]) -> npt.NDArray[Value]:
    """A tensor as (out_features, in_features), and such a matrix as the tensor is stored."""
    return np.ascontiguousarray(matrix.T) if is_transposed(name) else matrix


def turned_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of ``turned``."""
    return shape[::-1] if is_transposed(name) else shape


def weight_of(module: str) -> str:
    """The tensor of a module that adapters and grids are about."""
    return f"{module}.weight"


def module_of(name: str) -> str:
    """The module whose weight a tensor is."""
    return name.removesuffix(".weight")
