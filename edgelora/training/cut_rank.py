"""``--rank auto``: an adapter that was trained wide is cut to the directions that count, and the cost is measured.

wrapped model, Recipe -> Truncation

``edgelora.adapter.truncate`` decides which directions count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgelora.adapter.truncate import truncate, write_adapter
from edgelora.data.encode import AnyExample
from edgelora.training.loop import mean_loss
from edgelora.training.lora import current_factors, restore_adapter, set_factors
from edgelora.training.loss import Loss
from edgelora.training.recipe import Recipe
from edgelora_runtime.adapter import Adapter, read_adapter
from edgelora_runtime.adapter_config import read_fields


@dataclass(frozen=True, eq=False)
class Truncation:
    """A truncated adapter and its price; losses in nats per learned token."""

    adapter: Adapter
    energy: float  # share of the squared singular values that was asked for
    rank_before: int
    parameters_before: int
    loss_before: float
    loss_after: float

    @property
    def ranks(self) -> Mapping[str, int]:
        """Rank that is left, by module."""
        return {module: int(item.a.shape[0]) for module, item in self.adapter.factors.items()}

    @property
    def parameters(self) -> int:
        """Numbers in the factors that are left."""
        return sum(item.a.size + item.b.size for item in self.adapter.factors.values())

    def record(self) -> Mapping[str, Any]:
        """The price as plain JSON values."""
        ranks = list(self.ranks.values())
        return {
            "energy": self.energy,
            "rank_before": self.rank_before,
            "mean_rank": round(sum(ranks) / len(ranks), 2),
            "largest_rank": max(ranks),
            "parameters_before": self.parameters_before,
            "parameters": self.parameters,
            "loss_before": self.loss_before,
            "loss_after": self.loss_after,
        }


def truncate_trained(
    wrapped: Any, tensors: Mapping[str, torch.Tensor], loss: Loss, judged: Sequence[AnyExample], options: Recipe
) -> Truncation:
    """Cut the factors of ``tensors`` at ``options.rank_auto_energy``; ``wrapped`` is left with the truncated ones.

    ``judged`` are the examples that the loss before and after is the mean of.
    """
    assert options.rank_auto_energy is not None
    restore_adapter(wrapped, tensors)
    whole = Adapter(current_factors(wrapped))
    before = mean_loss(loss, judged, options.batch_size)
    cut = truncate(whole, energy=options.rank_auto_energy)
    set_factors(wrapped, cut.factors)
    after = mean_loss(loss, judged, options.batch_size)
    size = sum(item.a.size + item.b.size for item in whole.factors.values())
    return Truncation(cut, options.rank_auto_energy, options.rank, size, before, after)


def rewrite_truncated(folder: Path, adapter: Adapter) -> None:
    """Replace the factors in a PEFT folder by truncated ones, with ranks and scalings of their own."""
    config = read_fields(folder)
    whole = read_adapter(folder, with_head=True)
    write_adapter(folder, dataclasses.replace(whole, factors=adapter.factors), config)
