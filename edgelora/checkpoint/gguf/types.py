"""Tells which types of GGUF tensors can be read, and refuses the others by the tensor's name and the type's.

tensors' types -> nothing, or CheckpointError

The values of a type are the gguf package's matter.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import gguf
import numpy as np

from edgelora.errors import CheckpointError

PLAIN_TYPES = frozenset({"F64", "F32", "F16", "BF16"})
# Types that llama.cpp once had: their numbers are never given again, and the gguf package does not know them.
_REMOVED = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
_MAKE_AGAIN = "make the file again with llama-quantize, as Q4_0, Q8_0 or F16 for example"


def check_type_numbers(types: Iterable[tuple[str, int]], file: str) -> None:
    """Raise CheckpointError for the first of the tensors (name, number of its type) whose type the package lacks."""
    known = {item.value for item in gguf.GGMLQuantizationType}
    wrong = [(name, number) for name, number in types if number not in known]
    if not wrong:
        return
    name, number = wrong[0]
    if number in _REMOVED:
        why = f"which was {_REMOVED[number]} until llama.cpp removed it"
    else:
        why = "which is no type of llama.cpp's that EdgeLoRA knows (a newer one, or that of another program)"
    raise CheckpointError(f"{file}: tensor {name[:80]!r} has type {number}{_and_more(wrong)}, {why}; {_MAKE_AGAIN}")


def check_types(types: Iterable[tuple[str, gguf.GGMLQuantizationType]], file: str) -> None:
    """Raise CheckpointError for the first of the tensors (name, type) whose type has no way back to floats."""
    wrong = [(name, kind) for name, kind in types if not _can_dequantize(kind)]
    if wrong:
        name, kind = wrong[0]
        found = f"tensor {name[:80]!r} has type {kind.value} ({kind.name}){_and_more(wrong)}"
        raise CheckpointError(f"{file}: {found}, which the gguf package cannot turn into floats; {_MAKE_AGAIN}")


def _and_more(wrong: list[tuple[str, int]]) -> str:
    return "" if len(wrong) == 1 else f" (and {len(wrong) - 1} more like it)"


@functools.cache
def _can_dequantize(kind: gguf.GGMLQuantizationType) -> bool:
    if kind.name in PLAIN_TYPES:
        return True
    zeros = np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
    try:
        gguf.dequantize(zeros, kind)
    except NotImplementedError:
        return False
    return True
