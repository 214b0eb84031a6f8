"""Leaves values out at random while a step is taken: the same ones whenever that step is taken again.

torch model, Recipe, step -> the same model, which drops out while a block runs

Rows that are few are soon known by heart; what is left out makes that harder, and there is more to learn from them.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import torch

from edgelora.training.recipe import Recipe


@contextlib.contextmanager
def dropping_out(model: Any, options: Recipe, step: int) -> Iterator[None]:
    """Leave out ``options.dropout`` of what enters the factors, and of all that the model itself has dropout for.

    What is left out follows from seed and ``step`` alone, so that a run which resumes leaves out the same. Behind the
    block the model answers as before it, and torch draws what it would have drawn.
    """
    if not options.dropout:
        yield
        return
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    with torch.random.fork_rng():
        torch.manual_seed(random.Random(f"{options.seed}/dropout/{step}").getrandbits(63))
        try:
            for layer in layers:
                layer.p = options.dropout
                layer.train()
            yield
        finally:
            for layer in layers:
                layer.eval()
