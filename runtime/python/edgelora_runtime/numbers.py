"""Whether what a graph computed are numbers.

outputs -> nothing, or ArtifactError
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgelora_runtime.errors import ArtifactError


def check_numbers(values: npt.NDArray[np.float32], name: str) -> None:
    """Throw ArtifactError where any of ``values`` is NaN or infinite upwards; ``name`` is that of the model."""
    peak = float(values.max(initial=-math.inf))
    if not peak < math.inf:  # NaN is not below either
        raise ArtifactError(
            f"{name} computed {peak} where a number is due; give adapters smaller weights, or export the artifact again"
        )
