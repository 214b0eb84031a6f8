"""The tensors of a head in a torch model, PEFT's wrappers around its modules left out of their names.

torch model -> parameters by the names of the checkpoint
"""

from __future__ import annotations

import re
from typing import Any

import torch

from edgelora.checkpoint.names import is_head

_TRAINED = re.compile(r"\.modules_to_save\.default\.")
_FIRST = re.compile(r"\.original_module\.")


def head_parameters(model: Any) -> dict[str, torch.Tensor]:
    """What the model multiplies with in its head."""
    named = {name: value for name, value in model.named_parameters() if not _FIRST.search(name)}
    return {plain: value for name, value in named.items() if is_head(plain := _TRAINED.sub(".", name))}


def first_head(model: Any) -> dict[str, torch.Tensor]:
    """The head before it was trained; that of a model which PEFT has not wrapped is its own."""
    named = {name: value for name, value in model.named_parameters() if not _TRAINED.search(name)}
    return {plain: value for name, value in named.items() if is_head(plain := _FIRST.sub(".", name))}


def trained_head(model: Any) -> dict[str, torch.Tensor]:
    """What of the head learns, and travels with an adapter."""
    return {_TRAINED.sub(".", name): value for name, value in model.named_parameters() if _TRAINED.search(name)}
