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
ONE_INPUT = (
    ("q_proj", "k_proj", "v_proj"),
    ("gate_proj", "up_proj"),
    ("query", "key", "value"),
    ("query_proj", "key_proj", "value_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("q", "k", "v"),
)

HEAD = "lm_head.weight"

_TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")  # gpt2 keeps (in_features, out_features)
_LINEAR = re.compile(r"((_proj|\.c_attn|\.c_proj|\.c_fc)\.weight|^lm_head\.weight)$")
_ENCODER_LINEAR = re.compile(  # those of numbered layers, which albert_layers are too
    r"(^|[._])layers?\.\d+\.(.+\.)?(query|key|value|dense|[qkv]|attn\.o|[qkv]_lin|out_lin|lin1|lin2|ffn|ffn_output"
    r"|Wqkv|Wo|Wi)\.weight$"
)
_EMBEDDING = re.compile(r"(embed_tokens|wte|word_embeddings|tok_embeddings)\.weight$")
_EMBEDDING_PART = re.compile(r"(^|\.)embeddings\.")  # what tables go through before the layers stays float
_TASK_HEAD = re.compile(r"^((bert|albert)\.pooler|pooler|classifier|pre_classifier|score|head)\.")


def is_head(name: str) -> bool:
    """True for a tensor behind the layers that travels with adapters: a pooler, a dense layer, the classifier.

    The head of a decoder that writes text, and tables, are none.
    """
    return _TASK_HEAD.match(name) is not None


def is_linear(name: str) -> bool:
    """True for the weight of a linear that a grid rounds: of the layers, or the head that writes text."""
    if is_head(name) or _EMBEDDING_PART.search(name):
        return False
    return _LINEAR.search(name) is not None or _ENCODER_LINEAR.search(name) is not None


def is_embedding(name: str) -> bool:
    """True for the table that token ids index; position tables stay float and are none."""
    return _EMBEDDING.search(name) is not None


def is_layer_linear(name: str) -> bool:
    """True for the linears of the layers, the ones that calibration watches and adapters change; the head is none."""
    return name != HEAD and is_linear(name)


def is_vocabulary(name: str) -> bool:
    """The embedding and the head: read as at least 4 bits, and no linear of the layers."""
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
