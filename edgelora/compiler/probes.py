"""The prompts on which an artifact is compared with PyTorch.

Knows nothing about either side of the comparison.
"""

from __future__ import annotations

import numpy as np

from edgelora.text import open_tokenizer
from edgelora.types import Checkpoint

_TEXTS = ("Name three colours of the rainbow.", "Zürich, 12. März 2026 — 東京: 3 × 7 =")


def probe_prompts(checkpoint: Checkpoint) -> tuple[tuple[int, ...], ...]:
    """Two prompts through the chat template and one of fixed pseudo-random token ids."""
    vocab_size = int(checkpoint.config["vocab_size"])
    random = tuple(int(token) for token in np.random.default_rng(7).integers(0, vocab_size, 24))
    if checkpoint.tokenizer is None:
        return (random, random[:5])
    tokenizer = open_tokenizer(checkpoint)
    encoded = [
        tokenizer.encode_chat([{"role": "user", "content": text}])
        if tokenizer.chat_template
        else tokenizer.encode(text)
        for text in _TEXTS
    ]
    return (*(tuple(ids) for ids in encoded if ids), random)
