"""Watches the float model read calibration text and keeps what gptq needs: second moments of every linear's input.

Checkpoint, token ids -> Calibration
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from edgelora.checkpoint.names import is_embedding, is_layer_linear, is_vocabulary, weight_of
from edgelora.errors import DataError
from edgelora.grid.moments import Calibration
from edgelora.progress import SILENT, Progress
from edgelora.torch_model.build import load_torch, tensors_of
from edgelora.values import Checkpoint, FloatArray

_LEAST_SHARE = 2.0**-20  # of the mean: an input that is always zero still has a column of weights


def calibrate(checkpoint: Checkpoint, sequences: Sequence[Sequence[int]], progress: Progress = SILENT) -> Calibration:
    """Mean of x x^T over all tokens of ``sequences``, for the input x of every linear of the decoder layers.

    Holds the float model and one (in_features, in_features) float32 matrix for each different input: about 400 MB for
    a model of 135M parameters, 5 GB for one of 1B. Raises DataError without a token, or for an id that the vocabulary
    lacks.
    """
    return _watch(checkpoint, sequences, progress, _second_moments)


def weigh_inputs(
    checkpoint: Checkpoint, sequences: Sequence[Sequence[int]], progress: Progress = SILENT
) -> Calibration:
    """The mean square of each input of those linears and the head, as a whole power of two of their mean.

    A power of two stays the same where another processor adds in another order, all but always: of SmolLM2's 149,760
    inputs one lies within a millionth of a border. One thread adds alike however many there are. Holds the float model.
    Raises what ``calibrate`` does.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = _watch(checkpoint, sequences, progress, _squares, _head(checkpoint))
    finally:
        torch.set_num_threads(before)
    importance = {name: _powers_of_two(squares) for name, squares in found.hessians.items()}
    return dataclasses.replace(found, hessians={}, importance=importance)


def _second_moments(flat: torch.Tensor) -> torch.Tensor:
    flat = flat.float()
    return flat.T @ flat


def _squares(flat: torch.Tensor) -> torch.Tensor:
    return flat.double().square_().sum(dim=0)


def _powers_of_two(squares: FloatArray) -> FloatArray:
    mean = float(squares.mean(dtype=np.float64)) or 1.0
    exponents = np.rint(np.log2(np.maximum(squares.astype(np.float64) / mean, _LEAST_SHARE)))
    powers: FloatArray = np.exp2(exponents).astype(np.float32)
    return powers


def _watch(
    checkpoint: Checkpoint,
    sequences: Sequence[Sequence[int]],
    progress: Progress,
    moment: Callable[[torch.Tensor], torch.Tensor],
    head: str | None = None,
) -> Calibration:
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
    moments = _Moments(moment)
    generates = checkpoint.task.generates
    # Gemma 3's base_model is the whole model, whose logits over 262,144 tokens nobody reads here.
    has_decoder = generates and model.base_model is model
    inner = model.get_decoder() if has_decoder else model.base_model
    options = {"use_cache": False} if generates else {}
    with moments.watch(_linears(checkpoint, model)), torch.inference_mode():
        for row in progress.track(rows, "grid", "row"):
            found = inner(input_ids=torch.tensor([row], device=device), **options)
            if head is not None:
                moments.add(head, found.last_hidden_state)
            moments.next_sequence()
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return Calibration(digest, len(rows), tokens, moments.means(tokens))


def _head(checkpoint: Checkpoint) -> str | None:
    """The tensor that the last hidden state meets: a head of its own, else the embedding; None where there is none."""
    if not checkpoint.task.generates:
        return None
    names = [name for name in checkpoint.names() if is_vocabulary(name)]
    return next((name for name in names if not is_embedding(name)), names[0] if names else None)


def _linears(checkpoint: Checkpoint, model: Any) -> Mapping[str, Any]:
    """Tensor name of the checkpoint -> the module that multiplies with it."""
    modules = {weight_of(name): module for name, module in model.named_modules()}
    return {name: modules[name] for name in tensors_of(checkpoint, model) if is_layer_linear(name) and name in modules}


class _Moments:
    """Sums of one moment of x. Linears that are handed the very same tensor (q, k and v are) share one sum."""

    def __init__(self, moment: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._moment = moment  # of inputs (tokens, in_features)
        self._leader: dict[str, str] = {}  # linear -> the linear whose sum it reads
        self._sums: dict[str, torch.Tensor] = {}  # leader -> (in_features, in_features) or (in_features,)
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

    def add(self, name: str, given: torch.Tensor) -> None:
        """Count ``given`` (..., in_features) as the input of ``name``, which no module is watched for."""
        self._widths[name] = given.shape[-1]
        self._hook(name)(None, (given,))

    def next_sequence(self) -> None:
        """Forget the last input, so that its memory is free."""
        self._last = None

    def means(self, tokens: int) -> Mapping[str, FloatArray]:
        """Sums over ``tokens``; zeros for a linear that was never asked (an expert without a token)."""
        means = {name: (total / tokens).cpu().numpy().astype(np.float32) for name, total in self._sums.items()}
        shapes = {
            name: self._moment(torch.zeros(1, width))
            for name, width in self._widths.items()
            if name not in self._leader
        }
        unseen = {name: np.zeros(shape.shape, np.float32) for name, shape in shapes.items()}
        return {name: means[self._leader[name]] if name in self._leader else unseen[name] for name in self._widths}

    def _hook(self, name: str) -> Callable[[Any, Any], None]:
        def see(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            given = inputs[0]
            if name not in self._leader:  # decided once: the wiring of a model does not change
                same = self._last is not None and self._last[1] is given
                self._leader[name] = self._last[0] if self._last is not None and same else name
            if self._leader[name] != name:
                return
            product = self._moment(given.reshape(-1, given.shape[-1]))
            self._sums[name] = product if name not in self._sums else self._sums[name].add_(product)
            self._last = (name, given)

        return see


def _in_features(module: Any) -> int:
    """Columns of a linear; gpt2's Conv1D holds its weight transposed."""
    return int(module.in_features) if hasattr(module, "in_features") else int(module.weight.shape[0])
