"""How scales are stored: as the narrowest float type that holds every one of them exactly.

Knows nothing about graphs; a Cast in front of the reader widens what is stored here, and loses nothing.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from edgelora.types import FloatArray

_BFLOAT16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
_FLOAT16: np.dtype[Any] = np.dtype(np.float16)
_LOWER_HALF = np.uint32(0xFFFF)  # the bits of a float32 that a bfloat16 leaves out


def storage_type(scales: list[FloatArray]) -> np.dtype[Any]:
    """Of all ``scales`` together: bfloat16, which ``quantize`` rounds to, else GGUF's float16, else float32."""
    if not any((np.ascontiguousarray(part).view(np.uint32) & _LOWER_HALF).any() for part in scales):
        return _BFLOAT16
    return _FLOAT16 if all(_is_float16(part) for part in scales) else np.dtype(np.float32)


def _is_float16(scales: npt.NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore"):
        return bool((scales.astype(_FLOAT16).astype(np.float32) == scales).all())
