"""The compiler and trainer of EdgeLoRA: a base model and its adapters become an artifact for small devices.

Knows nothing until asked: the names below are imported when they are first used, so that importing the package never
waits for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelora.artifact.export import export_artifact
    from edgelora.artifact.store import add_adapter, remove_adapter
    from edgelora.artifact.targets import find_target
    from edgelora.artifact.verify import VerifyReport, verify_artifact
    from edgelora.checkpoint.folder import open_checkpoint
    from edgelora.errors import EdgeLoraError
    from edgelora.grid.make import parse_quant, plan_grid

__all__ = [
    "EdgeLoraError",
    "VerifyReport",
    "add_adapter",
    "export_artifact",
    "find_target",
    "open_checkpoint",
    "parse_quant",
    "plan_grid",
    "remove_adapter",
    "verify_artifact",
]

_HOME = {
    "EdgeLoraError": "edgelora.errors",
    "VerifyReport": "edgelora.artifact.verify",
    "add_adapter": "edgelora.artifact.store",
    "export_artifact": "edgelora.artifact.export",
    "find_target": "edgelora.artifact.targets",
    "open_checkpoint": "edgelora.checkpoint.folder",
    "parse_quant": "edgelora.grid.make",
    "plan_grid": "edgelora.grid.make",
    "remove_adapter": "edgelora.artifact.store",
    "verify_artifact": "edgelora.artifact.verify",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'edgelora' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
