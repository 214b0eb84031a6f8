"""The tokenizer of a checkpoint, as the runtime will use it on the device.

Checkpoint, template variables -> Tokenizer

Training and the probes of an export share it, so that both see the same tokens.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from edgelora.checkpoint.tied_head import embedding_rows
from edgelora.errors import CheckpointError
from edgelora.values import Checkpoint
from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.text import Tokenizer

UNDATED = datetime.date(2025, 1, 1)  # for what must be the same on every day: calibration, probes, what is measured


def open_tokenizer(
    checkpoint: Checkpoint, variables: Mapping[str, Any] | None = None, date: datetime.date = UNDATED
) -> Tokenizer:
    """The checkpoint's tokenizer, whose template gets ``variables`` and ``date`` as today.

    Raises CheckpointError when it has none.
    """
    files = checkpoint.tokenizer
    if files is None:
        raise CheckpointError(f"{checkpoint.name} has no tokenizer; put its tokenizer.json beside the weights")
    try:
        tokenizer = Tokenizer.from_text(
            files.tokenizer_json,
            files.chat_template,
            bos_token=files.bos_token,
            eos_token=files.eos_token,
            pad_token=files.pad_token,
            unk_token=files.unk_token,
            vocab_size=vocabulary_size(checkpoint),
        )
        tokenizer.check_template()
    except ArtifactError as error:
        raise CheckpointError(f"{checkpoint.name} cannot be used for text: {error}") from error
    return tokenizer.with_template(variables or {}, date)


def vocabulary_size(checkpoint: Checkpoint) -> int:
    """How many token ids the model can be fed: the rows of its embedding. Its tokenizer may know more, or fewer."""
    rows = embedding_rows({name: checkpoint.shape(name) for name in checkpoint.names()})
    return int(checkpoint.config["vocab_size"]) if rows is None else rows
