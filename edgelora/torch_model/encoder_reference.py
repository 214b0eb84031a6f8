"""Asks PyTorch what the shipped values answer for texts, or images, that are read once.

Grid, prompts -> EncoderReference
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from edgelora.checkpoint.names import is_head
from edgelora.checkpoint.task import with_head
from edgelora.grid.make import Grid
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.merged import load_merged
from edgelora.torch_model.packed import PackedMatrix
from edgelora.torch_model.reference import one_thread
from edgelora.torch_model.task_model import answer
from edgelora.values import EncoderReference
from edgelora_runtime.adapter import Factors
from edgelora_runtime.manifest import FEATURE_EXTRACTION, HeadInfo

_LABELS = HeadInfo(("LABEL_0", "LABEL_1", "LABEL_2"))  # of a head drawn from a seed where the base has none
_IMAGES = 2


def make_encoder_reference(
    grid: Grid, prompts: Sequence[Sequence[int]], baked: Mapping[str, Factors] | None = None
) -> EncoderReference:
    """The output for each prompt, a sequence of token ids, or for two fixed images where the model reads those.

    The head is the base's own, or one drawn from a seed. Raises CheckpointError when the model cannot be built.
    """
    task = grid.checkpoint.task
    if task.head is None and task.name != FEATURE_EXTRACTION:
        grid = dataclasses.replace(grid, checkpoint=with_head(grid.checkpoint, _LABELS))
        task = grid.checkpoint.task
    model = load_merged(grid, baked) if baked else load_torch(grid.checkpoint, grid, low_memory=bool(grid.matrices))
    for module in model.modules():
        if isinstance(module, PackedMatrix):
            module.unpack()
    inputs = [np.array(prompt, np.int64) for prompt in prompts] if prompts else _images(model.config)
    with one_thread(), torch.inference_mode():
        if prompts:
            tokens = [torch.from_numpy(row)[None] for row in inputs]
            outputs = [answer(model, task, row, torch.ones_like(row))[0] for row in tokens]
        else:
            outputs = [model(pixel_values=torch.from_numpy(row)[None]).logits[0] for row in inputs]
    head = {name: value.detach().numpy().copy() for name, value in model.named_parameters() if is_head(name)}
    return EncoderReference(tuple(inputs), tuple(output.numpy() for output in outputs), head)


def _images(config: Any) -> list[np.ndarray[Any, Any]]:
    side = config.image_size
    height, width = side if isinstance(side, list | tuple) else (side, side)
    rng = np.random.default_rng(3)
    return [rng.standard_normal((config.num_channels, height, width)).astype(np.float32) for _ in range(_IMAGES)]
