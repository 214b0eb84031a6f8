"""How many tokens an artifact remembers at most.

Checkpoint, tokens wanted -> tokens

Rotary positions of so many tokens are in memory wherever the artifact is loaded.
"""

from __future__ import annotations

from edgelora.errors import ConfigError
from edgelora.values import Checkpoint

DEFAULT_CONTEXT = 8192
_LEAST = 16  # fewer leave no room for a prompt and an answer


def own_context_length(checkpoint: Checkpoint) -> int:
    """The tokens that the model has positions for; with longrope those on which its short factors hold."""
    config = checkpoint.config
    if not checkpoint.task.generates:
        return checkpoint.task.context_length or 1  # an image is read as one
    if "long_factor" in (config.get("rope_scaling") or {}):
        return int(config.get("original_max_position_embeddings") or config["max_position_embeddings"])
    return int(config.get("max_position_embeddings") or config.get("n_positions") or 2048)


def choose_context_length(checkpoint: Checkpoint, wanted: int | None = None) -> int:
    """``wanted``, or the model's own length, at most DEFAULT_CONTEXT.

    Raises ConfigError for more than the model's own: it never learned what such positions mean.
    """
    own = own_context_length(checkpoint)
    if wanted is None:
        return min(own, DEFAULT_CONTEXT)
    if wanted != own and not _LEAST <= wanted <= own:
        raise ConfigError(
            f"--context-length is {wanted}; {checkpoint.name} has positions for {own} tokens, so give {_LEAST} to {own}"
        )
    return wanted
