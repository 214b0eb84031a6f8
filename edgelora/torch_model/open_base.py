"""Opens a base model whose tensors are those that its config asks for, before any work is done on it.

folder, hub id or GGUF file -> Checkpoint

The model is built without memory for its weights.
"""

from __future__ import annotations

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.values import Checkpoint


def open_base(model: str, task: str | None = None) -> Checkpoint:
    """``open_checkpoint``, and a CheckpointError that names tensors that are missing, misshapen or used by nothing."""
    from edgelora.torch_model.build import check_tensors  # options that are refused do not pay for torch

    checkpoint = open_checkpoint(model, task)
    check_tensors(checkpoint)
    return checkpoint
