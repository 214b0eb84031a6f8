"""The compiler and trainer of EdgeLoRA: a base model and its adapters become an artifact for small devices.

paths, options -> TrainResult, QuantizeResult, ExportResult, AdapterInfo, MergeResult, Difference, Interference

The names below are imported when they are first used, so that importing the package never waits for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelora.adapter.difference import Difference
    from edgelora.adapter.merge_folders import MergeResult
    from edgelora.adapter.merge_options import FitOptions, MergeOptions
    from edgelora.api import (
        ExportResult,
        QuantizeResult,
        add_adapter,
        export,
        merge_adapters,
        quantize,
        recover,
        train,
        verify,
    )
    from edgelora.artifact.options import ExportOptions
    from edgelora.artifact.store import remove_adapter
    from edgelora.artifact.verify import VerifyReport
    from edgelora.errors import EdgeLoraError
    from edgelora.evaluation.asked import Asked
    from edgelora.evaluation.interference import Interference
    from edgelora.torch_model.choose_grid import GridChoice
    from edgelora.training.options import RecoverOptions, TrainOptions
    from edgelora.training.run import TrainResult

__all__ = [
    "Asked",
    "Difference",
    "EdgeLoraError",
    "ExportOptions",
    "ExportResult",
    "FitOptions",
    "GridChoice",
    "Interference",
    "MergeOptions",
    "MergeResult",
    "QuantizeResult",
    "RecoverOptions",
    "TrainOptions",
    "TrainResult",
    "VerifyReport",
    "add_adapter",
    "diff_adapters",
    "export",
    "interference",
    "merge_adapters",
    "quantize",
    "recover",
    "remove_adapter",
    "train",
    "verify",
]

_HOME = {
    "Asked": "edgelora.evaluation.asked",
    "Difference": "edgelora.adapter.difference",
    "EdgeLoraError": "edgelora.errors",
    "ExportOptions": "edgelora.artifact.options",
    "FitOptions": "edgelora.adapter.merge_options",
    "GridChoice": "edgelora.torch_model.choose_grid",
    "Interference": "edgelora.evaluation.interference",
    "MergeOptions": "edgelora.adapter.merge_options",
    "MergeResult": "edgelora.adapter.merge_folders",
    "RecoverOptions": "edgelora.training.options",
    "TrainOptions": "edgelora.training.options",
    "TrainResult": "edgelora.training.run",
    "VerifyReport": "edgelora.artifact.verify",
    "remove_adapter": "edgelora.artifact.store",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'edgelora' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME.get(name, "edgelora.api")), name)


def __dir__() -> list[str]:
    return __all__
