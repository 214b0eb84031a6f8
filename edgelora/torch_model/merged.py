"""The model of a grid with an adapter in its weights, in float: what a graph with the factors beside it computes.

Grid, Factors -> torch model

Nothing is rounded here, so the result is the adapter at its best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from edgelora.checkpoint.names import turned, weight_of
from edgelora.errors import AdapterError
from edgelora.grid.make import Grid
from edgelora.torch_model.build import load_torch
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Factors


def load_merged(grid: Grid, factors: Mapping[str, Factors]) -> Any:
    """``load_torch`` with each module's delta added to its weight; ``factors`` are keyed by module name.

    Raises AdapterError for a module that the model does not have.
    """
    model = load_torch(grid.checkpoint, grid)
    for module, item in factors.items():
        name = weight_of(module)
        set_weight(model, name, merged_value(grid, name, item))
    return model


def merged_value(grid: Grid, name: str, item: Factors) -> FloatArray:
    """A tensor's shipped values and the delta of its module, in the orientation of the Hugging Face state dict."""
    value: FloatArray = grid.value(name) + turned(name, item.delta())
    return value


def set_weight(model: Any, name: str, value: FloatArray) -> None:
    """Write one tensor of the checkpoint into the model; raises AdapterError for one that it does not have."""
    weight: torch.Tensor | None = dict(model.named_parameters()).get(name)
    if weight is None:
        raise AdapterError(f"the model has no tensor {name}; use an adapter trained for this base")
    with torch.no_grad():
        weight.copy_(torch.from_numpy(np.ascontiguousarray(value)))
