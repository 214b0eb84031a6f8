"""The compiler and trainer of EdgeLoRA: a base model and its adapters become an artifact for small devices.

Knows nothing until asked: the names below are imported when they are first used, so that importing the package never
waits for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelora.adapter.store import add_adapter, remove_adapter
    from edgelora.checkpoint import open_checkpoint
    from edgelora.compiler.export import export_artifact
    from edgelora.compiler.verify import VerifyReport, verify_artifact
    from edgelora.errors import EdgeLoraError
    from edgelora.grid import parse_quant, plan_grid
    from edgelora.targets import find_target

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
    "VerifyReport": "edgelora.compiler.verify",
    "add_adapter": "edgelora.adapter.store",
    "export_artifact": "edgelora.compiler.export",
    "find_target": "edgelora.targets",
    "open_checkpoint": "edgelora.checkpoint",
    "parse_quant": "edgelora.grid",
    "plan_grid": "edgelora.grid",
    "remove_adapter": "edgelora.adapter.store",
    "verify_artifact": "edgelora.compiler.verify",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'edgelora' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
