"""Tells the layers of an activated adapter (aLoRA) where in each row it begins to act; PEFT then masks the rest.

torch model with PEFT's layers -> Activation
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.variants import ALoraLinearVariant


def is_activated(model: Any) -> bool:
    """Whether PEFT's layers in ``model`` belong to an activated adapter."""
    return any(
        isinstance(variant, ALoraLinearVariant)
        for module in model.modules()
        if isinstance(module, LoraLayer)
        for variant in module.lora_variant.values()
    )


class Activation:
    """Where the adapter of a model acts, in every pass until it is told anew.

    PEFT itself looks for the invocation in the token ids of a pass, which the passes of ``loss`` over a KV cache do not
    have, and forgets it before layers are computed again for the backward pass.
    """

    def __init__(self, model: Any) -> None:
        self._offsets: list[int] = []
        for module in model.modules():
            if isinstance(module, LoraLayer):
                module.register_forward_pre_hook(self._tell, with_kwargs=True)

    @contextlib.contextmanager
    def base(self) -> Iterator[None]:
        """Act nowhere in a pass of one row, which wants no gradient then."""
        before, self._offsets = self._offsets, [0]
        try:
            with torch.no_grad():
                yield
        finally:
            self._offsets = before

    def begin(self, starts: Sequence[int], length: int) -> None:
        """Act from index ``starts[row]`` on in passes over ``length`` tokens; an index of ``length`` is nowhere."""
        self._offsets = [length - start for start in starts]  # PEFT counts from the end

    def _tell(self, _module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return inputs, {**options, "alora_offsets": self._offsets}
