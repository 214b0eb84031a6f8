"""What merging some layers costs: KL divergence between the factored model and one with merged weights in it.

Grid, Factors, prompts -> MergeKl
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgelora.checkpoint.context_length import own_context_length
from edgelora.checkpoint.names import module_of
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.encode import encode_rows
from edgelora.data.rows import read_rows
from edgelora.grid.make import Grid
from edgelora.torch_model.divergence import Divergence
from edgelora.torch_model.merged import load_merged, merged_value
from edgelora.values import Checkpoint, FloatArray
from edgelora_runtime.adapter import Factors

_TOKENS = 512  # the log-probabilities of all are kept: 4 bytes times the vocabulary for each


class MergeKl:
    """KL(factored || candidate) in nats, the mean over all positions of some prompts (non-empty token ids).

    The factored model is the grid with the adapter beside it (by module name), nothing rounded. A candidate has the
    value of the given grid in each named tensor, and all others are factored.
    """

    def __init__(self, grid: Grid, factors: Mapping[str, Factors], prompts: Sequence[Sequence[int]]) -> None:
        def factored(name: str) -> FloatArray:
            return merged_value(grid, name, factors[module_of(name)])

        self._divergence = Divergence(load_merged(grid, factors), factored, prompts)

    def __call__(self, merged: Mapping[str, Grid]) -> float:
        """The divergence with these tensors read from there: tensor name -> the grid that replaces W + delta."""
        return self._divergence({name: found.value for name, found in merged.items()})


def read_kl_prompts(checkpoint: Checkpoint, data: Path) -> tuple[tuple[int, ...], ...]:
    """Rows of a data file as token ids, prompt and completion, spread over the file and about 512 tokens together.

    Raises DataError when no row can be used.
    """
    encoded = encode_rows(
        read_rows(data),
        open_tokenizer(checkpoint),
        checkpoint.eos_token_ids,
        _TOKENS,
        raw=False,
        where=str(data),
        context=own_context_length(checkpoint),
    )
    rows = [example.ids for example in encoded.examples]
    count = max(1, min(len(rows), _TOKENS * len(rows) // sum(map(len, rows))))
    return tuple(rows[index * len(rows) // count] for index in range(count))
