"""Settles whether the head of a decoder is its embedding, from what is stored and what the config says.

stored tensors, config -> tensors with the head settled
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from edgelora.checkpoint.names import HEAD, is_embedding
from edgelora.errors import CheckpointError
from edgelora.values import FloatArray

_EMBEDDINGS = ("model.embed_tokens.weight", "transformer.wte.weight")
_CHUNK_WEIGHTS = 1 << 20


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


Stored = TypeVar("Stored", bound=_Shaped)


def ties_embeddings(config: Mapping[str, Any]) -> bool:
    """``tie_word_embeddings`` of a config; where it is left out, what transformers takes for such a model."""
    if "tie_word_embeddings" not in config:
        from transformers import CONFIG_MAPPING  # few configs leave it out

        model_type = config.get("model_type")
        return model_type not in CONFIG_MAPPING or bool(CONFIG_MAPPING[model_type]().tie_word_embeddings)
    value = config["tie_word_embeddings"]
    if not isinstance(value, bool | None):
        raise CheckpointError(f"tie_word_embeddings is {str(value)[:40]!r} in config.json; expected true or false")
    return bool(value)


def settle_head(
    tensors: Mapping[str, Stored], rows: Callable[[Stored], Iterator[FloatArray]], tied: bool | None, name: str
) -> dict[str, Stored]:
    """``tensors`` with ``lm_head.weight`` in it where, and only where, the head is not the embedding.

    Some checkpoints store a tied embedding twice, in equal or in other types, and some under the name of the head
    alone. ``rows`` reads a tensor in the steps of ``chunks``, so that two that differ are told apart by their first
    rows. ``tied`` is what the config says, None where it says nothing: then what is stored decides.

    Raises CheckpointError where config and tensors contradict each other.
    """
    kept = dict(tensors)
    embedding = next((key for key in _EMBEDDINGS if key in kept), None)
    head = kept.get(HEAD)
    if embedding is None:
        if tied and head is not None:
            start = "transformer.wte" if any(key.startswith("transformer.") for key in kept) else "model.embed_tokens"
            kept[f"{start}.weight"] = kept.pop(HEAD)
        return kept
    if head is None:
        if tied is False:
            raise CheckpointError(
                f"{name} lacks {HEAD}, and its config does not tie the head to the embedding; download the weights "
                'again, or set "tie_word_embeddings": true if the embedding is the head'
            )
        return kept
    if len(head.shape) == 2 and head.shape == kept[embedding].shape and _equal(rows(head), rows(kept[embedding])):
        del kept[HEAD]
    elif tied:
        raise CheckpointError(
            f"{name} stores an {HEAD} that differs from its embedding, while its config ties the two; set "
            '"tie_word_embeddings": false to keep the stored head, or delete that tensor'
        )
    return kept


def embedding_rows(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """How many token ids a model has, by the shapes of its tensors; None where it has no embedding known here."""
    return next((shape[0] for key, shape in shapes.items() if is_embedding(key) and shape), None)


def chunks(shape: tuple[int, ...]) -> Iterator[slice]:
    """The steps in which a tensor is compared, along its first axis."""
    step = max(1, _CHUNK_WEIGHTS // max(1, math.prod(shape[1:])))
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def _equal(first: Iterable[FloatArray], second: Iterable[FloatArray]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))
