"""Decoder layers that forget their activations and compute them again for the backward pass.

torch model -> the same model, whose layers forget

Memory falls to one hidden state a layer and the insides of a single layer; time grows by one more forward pass. Values
and gradients are the same bit for bit.

Source: Chen et al. 2016, arXiv:1604.06174. transformers' own switch turns dropout on and refuses a KV cache, over which
``loss`` runs what a batch opens with once; here the cache that a layer sees becomes an argument of that layer instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute_layers(model: Any) -> None:
    """Make every decoder layer of ``model`` forget its insides wherever gradients are wanted; without, nothing changes.

    The keys and values of a ``DynamicCache`` are kept, with their gradient.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for index, layer in enumerate(layers):
        layer.forward = _forgetful(layer.forward, index)


class _LayerCache:
    """What one layer sees of a cache: its keys and values before, and after ``update`` the longer ones."""

    def __init__(self, keys: torch.Tensor | None, values: torch.Tensor | None) -> None:
        self.keys, self.values = keys, values

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, _layer: int, _options: Any = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append along the tokens, as ``DynamicLayer`` does; each is (batch, heads, tokens, head_dim)."""
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], dim=-2), torch.cat([self.values, values], dim=-2)
        self.keys, self.values = keys, values
        return keys, values


def _forgetful(forward: Callable[..., Any], index: int) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments, **named)
        cache = next((one for one in (*arguments, *named.values()) if isinstance(one, DynamicCache)), None)
        filled = cache is not None and index < len(cache.layers) and cache.layers[index].is_initialized
        before = (
            (cache.layers[index].keys, cache.layers[index].values) if cache is not None and filled else (None, None)
        )

        def compute() -> tuple[Any, torch.Tensor | None, torch.Tensor | None]:
            seen = _LayerCache(*before)  # a fresh one each time: the second pass must not append to the first one's
            output = forward(
                *(seen if one is cache and cache is not None else one for one in arguments),
                **{key: seen if one is cache and cache is not None else one for key, one in named.items()},
            )
            return output, seen.keys, seen.values

        output, keys, values = checkpoint(compute, use_reentrant=False)
        if cache is not None and keys is not None and values is not None:
            if filled:
                cache.layers[index].keys, cache.layers[index].values = keys, values
            else:
                cache.update(keys, values, index)
        return output

    return run
