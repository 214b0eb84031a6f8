"""Watches the float model read calibration text and keeps what gptq needs: second moments of every linear's input.

Knows nothing about rounding, or about where the token ids come from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from edgelora.calibration import Calibration
from edgelora.errors import DataError
from edgelora.grid import is_layer_linear
from edgelora.training.model import load_torch, tensor_sources
from edgelora.types import Checkpoint, FloatArray, TrackNames


def calibrate(checkpoint: Checkpoint, sequences: Sequence[Sequence[int]], track: TrackNames = iter) -> Calibration:
    """Mean of x x^T over all tokens of ``sequences``, for the input x of every linear of the decoder layers.

    Holds the float model and one (in_features, in_features) float32 matrix for each different input: about 400 MB for
    a model of 135M parameters, 5 GB for one of 1B. Raises DataError without a token, or for an id that the vocabulary
    lacks.
    """
    rows = [list(sequence) for sequence in sequences if len(sequence)]
    tokens = sum(len(row) for row in rows)
    if not tokens:
        raise DataError("there is no calibration text; give at least one row that is not empty")
    model = load_torch(checkpoint, None)
    vocabulary = model.get_input_embeddings().num_embeddings
    strange = [token for row in rows for token in row if not 0 <= token < vocabulary]
    if strange:
        raise DataError(f"calibration has token id {strange[0]}, but {checkpoint.name} knows {vocabulary} tokens")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    moments = _Moments()
    with moments.watch(_linears(checkpoint, model)), torch.inference_mode():
        for number in track([str(index) for index in range(len(rows))]):
            model.base_model(input_ids=torch.tensor([rows[int(number)]], device=device), use_cache=False)
            moments.next_sequence()
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return Calibration(digest, len(rows), tokens, moments.means(tokens))


def _linears(checkpoint: Checkpoint, model: Any) -> Mapping[str, Any]:
    """Tensor name of the checkpoint -> the module that multiplies with it."""
    sources = tensor_sources(checkpoint, model)
    modules = {f"{name}.weight": module for name, module in model.named_modules()}
    return {source: modules[name] for name, source in sources.items() if is_layer_linear(source) and name in modules}


class _Moments:
    """Sums of x x^T. Linears that are handed the very same tensor (q, k and v are) share one sum."""

    def __init__(self) -> None:
        self._leader: dict[str, str] = {}  # linear -> the linear whose sum it reads
        self._sums: dict[str, torch.Tensor] = {}  # leader -> (in_features, in_features)
        self._last: tuple[str, torch.Tensor] | None = None  # the leader that was fed last, and with what
        self._widths: dict[str, int] = {}

    @contextmanager
    def watch(self, linears: Mapping[str, Any]) -> Iterator[None]:
        """Follow ``linears`` (tensor name -> module) as long as the context lasts."""
        self._widths = {name: _in_features(module) for name, module in linears.items()}
        handles = [module.register_forward_pre_hook(self._hook(name)) for name, module in linears.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def next_sequence(self) -> None:
        """Forget the last input, so that its memory is free."""
        self._last = None

    def means(self, tokens: int) -> Mapping[str, FloatArray]:
        """Sums over ``tokens``; zeros for a linear that was never asked (an expert without a token)."""
        means = {name: (total / tokens).cpu().numpy().astype(np.float32) for name, total in self._sums.items()}
        unseen = {name: np.zeros((width, width), np.float32) for name, width in self._widths.items()}
        return {name: means[self._leader[name]] if name in self._leader else unseen[name] for name in self._widths}

    def _hook(self, name: str) -> Callable[[Any, Any], None]:
        def see(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            given = inputs[0]
            if name not in self._leader:  # decided once: the wiring of a model does not change
                same = self._last is not None and self._last[1] is given
                self._leader[name] = self._last[0] if self._last is not None and same else name
            if self._leader[name] != name:
                return
            flat = given.reshape(-1, given.shape[-1]).float()
            product = flat.T @ flat
            self._sums[name] = product if name not in self._sums else self._sums[name].add_(product)
            self._last = (name, given)

        return see


def _in_features(module: Any) -> int:
    """Columns of a linear; gpt2's Conv1D holds its weight transposed."""
    return int(module.in_features) if hasattr(module, "in_features") else int(module.weight.shape[0])
