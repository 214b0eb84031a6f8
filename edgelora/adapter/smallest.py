"""The narrower of two types in which an array of floats goes into a file.

floats -> floats
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora.values import FloatArray


def smallest(values: FloatArray) -> npt.NDArray[Any]:
    """``values`` as float16 where that holds every one of them, else as they are."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if bool((half == values).all()) else values
