"""The tokenizer of a run: the checkpoint's, with the template variables and the day of the run's options.

Checkpoint, Recipe -> Tokenizer

Whoever reads rows for training opens it here, so that all see one text.
"""

from __future__ import annotations

from edgelora.checkpoint.tokenizer import UNDATED, open_tokenizer
from edgelora.training.recipe import Recipe
from edgelora.values import Checkpoint
from edgelora_runtime.rendering import parse_date
from edgelora_runtime.text import Tokenizer


def open_templated(checkpoint: Checkpoint, options: Recipe) -> Tokenizer:
    """The checkpoint's tokenizer as this run renders with it; raises CheckpointError when it has none."""
    return open_tokenizer(checkpoint, options.template_variables, parse_date(options.date) or UNDATED)
