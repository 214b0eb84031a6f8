"""PyTorch whose linears round their inputs to 8 bits in long calls, as artifacts for wasm do.

Knows nothing about where the weights come from.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from edgelora.values import FloatArray
from edgelora_onnx.passes.lower_to_integers import LONG

_LARGEST = 127  # the byte of a token's largest input


class RoundingLinear(torch.nn.Module):
    """A base weight that meets whole multiples of 1/127 of a token's largest input, and a delta that meets floats.

    Inputs are divided by ``factors`` (in_features,) before they are rounded, and multiplied by them after.
    """

    def __init__(self, weight: torch.Tensor, delta: torch.Tensor, factors: FloatArray) -> None:
        super().__init__()
        self.register_buffer("weight", weight)  # (out_features, in_features)
        self.register_buffer("delta", delta)
        self.register_buffer("factors", torch.from_numpy(factors.copy()))
        self.codes: torch.Tensor | None = None  # (..., in_features) what the last long call rounded, in bytes
        self.flipped: int | None = None  # which of them falls to the other side of the edge that is nearest to it

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, in_features) to (batch, tokens, out_features)."""
        rounded = x
        if x.shape[1] >= LONG:
            even = x / self.factors
            step = even.abs().amax(-1, keepdim=True) / _LARGEST
            self.codes = even / step
            whole = self.codes.round()
            if self.flipped is not None:
                whole.view(-1)[self.flipped] += (self.codes - whole).sign().view(-1)[self.flipped]
            rounded = whole * step * self.factors
        return rounded @ self.weight.T + x @ self.delta.T


def round_inputs(model: torch.nn.Module, deltas: Mapping[str, torch.Tensor], factors: Mapping[str, FloatArray]) -> None:
    """Replace each linear of the base ``model`` whose weight ``factors`` names; ``deltas`` are those of adapters."""
    for name, factor in factors.items():
        weight = model.get_parameter(name).detach().clone()
        model.set_submodule(name.removesuffix(".weight"), RoundingLinear(weight, deltas[name], factor))


def rounding_linears(model: torch.nn.Module) -> list[RoundingLinear]:
    """Those that ``round_inputs`` has put into the model."""
    return [module for module in model.modules() if isinstance(module, RoundingLinear)]
