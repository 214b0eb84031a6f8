"""Asks the float model how much its answers change when some of its weights are rounded.

Checkpoint, token ids -> MeasureChange
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from edgelora.errors import DataError
from edgelora.grid.bits import MeasureChange
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.divergence import Divergence, HiddenDivergence
from edgelora.values import Checkpoint, FloatArray

_SEQUENCES = 2
_POSITIONS = 48  # the last of each sequence, where the answer stands


def open_sensitivity(checkpoint: Checkpoint, sequences: Sequence[Sequence[int]]) -> MeasureChange:
    """A function from tensor values to the mean KL divergence, in nats a token, that they cause.

    Of a model that reads a text once it is the share of what stands behind its layers that they move.
    It compares the float model with the same model in which the named tensors hold the given values, on the last
    tokens of up to 2 of ``sequences``, spread evenly. Holds the float model as long as the function lives. Raises
    DataError without a sequence.
    """
    if not sequences:
        raise DataError("there is no text to measure sensitivity on; give at least one row")
    model = load_torch(checkpoint, None).to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    count = min(_SEQUENCES, len(sequences))
    prompts = [sequences[index * len(sequences) // count] for index in range(count)]
    measure = Divergence if checkpoint.task.generates else HiddenDivergence
    divergence = measure(model, checkpoint.read, prompts, _POSITIONS)

    def change(values: Mapping[str, FloatArray]) -> float:
        return divergence(dict.fromkeys(values, values.__getitem__))

    return change
