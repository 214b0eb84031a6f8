"""Rotary tables computed by transformers' own functions, so that every scaling it knows is exact.

Knows nothing about graphs.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora.errors import CheckpointError

_FIXED_TYPES = ("default", "linear", "llama3", "yarn")  # the others change their frequencies with the prompt's length


def cos_sin_tables(
    config: Any, context_length: int, local: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cosines and sines, each (context_length, rotary_dim / 2), of a transformers config.

    ``local`` asks for the tables of gemma3's short-range layers. Raises CheckpointError for a scaling that is no table.
    """
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    if local:
        config = copy.deepcopy(config)
        config.rope_theta, config.rope_scaling = config.rope_local_base_freq, None
    scaling = getattr(config, "rope_scaling", None) or {}
    rope_type = scaling.get("rope_type", scaling.get("type", "default"))
    if rope_type not in _FIXED_TYPES:
        raise CheckpointError(
            f"rope_scaling type {rope_type!r} depends on the prompt's length and cannot be a constant table; "
            f"supported are {', '.join(_FIXED_TYPES)}"
        )
    frequencies, factor = ROPE_INIT_FUNCTIONS[rope_type](config, torch.device("cpu"))
    angles = torch.outer(torch.arange(context_length, dtype=torch.float32), frequencies.float())
    return (angles.cos() * factor).numpy(), (angles.sin() * factor).numpy()
