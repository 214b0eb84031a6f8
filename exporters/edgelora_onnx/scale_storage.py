"""How scales are stored: as float16 where that holds every one of them exactly, else as float32.

scales -> a type

A Cast in front of the reader widens what is stored here, and loses nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora.values import FloatArray

_FLOAT16: np.dtype[Any] = np.dtype(np.float16)


def storage_type(scales: list[FloatArray]) -> np.dtype[Any]:
    """Of all ``scales`` together. ``quantize`` rounds to bfloat16 values, which float16 holds from 2**-17 to 65,280.

    bfloat16 itself is no choice: the build of onnxruntime-web for WebGPU cannot load a Cast from it.
    """
    return _FLOAT16 if all(_is_float16(part) for part in scales) else np.dtype(np.float32)


def _is_float16(scales: npt.NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore"):
        return bool((scales.astype(_FLOAT16).astype(np.float32) == scales).all())
