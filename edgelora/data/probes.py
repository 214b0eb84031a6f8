"""The prompts on which answers are compared: an artifact with PyTorch, an adapter with its receipt.

Checkpoint -> ProbePrompt

The texts are fixed and general, so no private row travels with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelora.checkpoint.tokenizer import open_tokenizer, vocabulary_size
from edgelora.values import Checkpoint

_TEXTS = ("Name three colours of the rainbow.", "Zürich, 12. März 2026 — 東京: 3 × 7 =")


@dataclass(frozen=True)
class ProbePrompt:
    """Token ids, and the text that they came from; None for pseudo-random ids."""

    input_ids: tuple[int, ...]
    text: str | None = None


def probe_prompts(checkpoint: Checkpoint) -> tuple[tuple[int, ...], ...]:
    """The token ids of ``find_probes``."""
    return tuple(probe.input_ids for probe in find_probes(checkpoint))


def find_probes(checkpoint: Checkpoint) -> tuple[ProbePrompt, ...]:
    """Two prompts through the chat template and one of fixed pseudo-random token ids.

    A task that reads texts once gets the texts with the tokenizer's own special tokens, and no longer ones than it
    reads.
    """
    vocab_size = vocabulary_size(checkpoint)
    random = tuple(int(token) for token in np.random.default_rng(7).integers(0, vocab_size, 24))
    if not checkpoint.task.generates:
        return _find_texts(checkpoint, random)
    if checkpoint.tokenizer is None:
        return (ProbePrompt(random), ProbePrompt(random[:5]))
    tokenizer = open_tokenizer(checkpoint)
    encoded = [
        tokenizer.encode_chat([{"role": "user", "content": text}])
        if tokenizer.chat_template
        else tokenizer.encode(text)
        for text in _TEXTS
    ]

    def can_be_fed(ids: Sequence[int]) -> bool:
        return bool(ids) and max(ids) < vocab_size

    texts = [ProbePrompt(tuple(ids), text) for ids, text in zip(encoded, _TEXTS, strict=True) if can_be_fed(ids)]
    return (*texts, ProbePrompt(random))


def _find_texts(checkpoint: Checkpoint, random: Sequence[int]) -> tuple[ProbePrompt, ...]:
    longest, padding = checkpoint.task.context_length, checkpoint.config.get("pad_token_id")
    free = [token for token in random if token != padding]  # some models take that one for no token at all
    if checkpoint.tokenizer is None:
        return (ProbePrompt(tuple(free[:longest])), ProbePrompt(tuple(free[: min(5, longest)])))
    tokenizer = open_tokenizer(checkpoint)
    probes = []
    for text, encoded in zip(_TEXTS, tokenizer.encode_texts(_TEXTS), strict=True):
        room = longest - len(encoded.before) - len(encoded.after)
        ids = tuple(encoded.cut(0, room)) if room > 0 and encoded.ids else ()
        if ids and (tokenizer.vocab_size is None or max(ids) < tokenizer.vocab_size):
            probes.append(ProbePrompt(ids, text))
    return (*probes, ProbePrompt(tuple(free[:longest])))
