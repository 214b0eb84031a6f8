"""Asks a torch model with factors beside it for its next tokens.

torch model, Factors, token ids -> log-probabilities
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from edgelora.torch_model.probe import adding
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Factors


def next_tokens(model: Any, factors: Mapping[str, Factors], ids: Sequence[int], positions: Sequence[int]) -> FloatArray:
    """Log-probabilities (n_positions, vocab_size) of what follows each position; the model is left as it was.

    Raises AdapterError for a module that the model does not have.
    """
    device = next(model.parameters()).device
    with torch.inference_mode(), adding(model, factors):
        logits = model(input_ids=torch.tensor([list(ids)], device=device), use_cache=False).logits[0]
        found: FloatArray = torch.log_softmax(logits[list(positions)].float(), dim=-1).cpu().numpy()
    return found
