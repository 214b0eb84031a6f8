"""Refuses tensors that hold NaN or infinity: a model with one such weight answers nothing, however well it exports.

tensor -> the same tensor, or CheckpointError
"""

from __future__ import annotations

import math

import numpy as np

from edgelora.errors import CheckpointError
from edgelora.values import FloatArray


def check_finite(value: FloatArray, tensor: str, checkpoint: str) -> FloatArray:
    """``value`` itself; raises CheckpointError naming ``tensor`` where a number in it is not finite."""
    if not is_finite(value):
        wrong = ~np.isfinite(value)
        place = tuple(int(index) for index in np.argwhere(wrong)[0])
        raise CheckpointError(
            f"{checkpoint}: {tensor} holds {float(value[place])} at {list(place)}, and {int(wrong.sum())} of its "
            f"{value.size} numbers are not finite in float32; download the weights again, or repair them"
        )
    return value


def is_finite(value: FloatArray) -> bool:
    """Whether every number is finite; one pass and no temporary where that is so."""
    flat = value.reshape(-1)
    # NaN and infinity survive a sum of squares; a sum that overflows by itself is looked into.
    return math.isfinite(np.dot(flat, flat)) or bool(np.isfinite(flat).all())
