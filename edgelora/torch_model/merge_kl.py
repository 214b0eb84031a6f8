"""What merging some layers costs: KL divergence between the factored model and one with merged weights in it.

Knows nothing about which layers to merge; it swaps weights in one model in place and puts them back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from edgelora.checkpoint.names import module_of
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.encode import encode_rows
from edgelora.data.rows import read_rows
from edgelora.grid.make import Grid
from edgelora.torch_model.adapted import adapted_value, load_adapted, set_weight
from edgelora.values import Checkpoint
from edgelora_runtime.adapter import Factors

_TOKENS = 512  # the log-probabilities of all are kept: 4 bytes times the vocabulary for each


class MergeKl:
    """KL(factored || candidate) in nats, the mean over all positions of some prompts.

    The factored model is the grid with the adapter beside it, nothing rounded: what it answers is asked once.
    """

    def __init__(self, grid: Grid, factors: Mapping[str, Factors], prompts: Sequence[Sequence[int]]) -> None:
        self._grid = grid
        self._factors = factors  # by module name
        self._model = load_adapted(grid, factors)
        self._prompts = [torch.tensor([list(prompt)]) for prompt in prompts]
        self._exact = [_log_probabilities(self._model, ids) for ids in self._prompts]
        self._merged: dict[str, Grid] = {}

    def __call__(self, merged: Mapping[str, Grid]) -> float:
        """KL of the model in which each named tensor has the value of the given grid, and all others are factored."""
        for name in self._merged.keys() - merged.keys():
            set_weight(self._model, name, adapted_value(self._grid, name, self._factors[module_of(name)]))
            del self._merged[name]
        for name, grid in merged.items():
            if self._merged.get(name) is not grid:
                set_weight(self._model, name, grid.value(name))
                self._merged[name] = grid
        if not merged:
            return 0.0
        total, positions = 0.0, 0
        for ids, exact in zip(self._prompts, self._exact, strict=True):
            found = _log_probabilities(self._model, ids)
            total += float(functional.kl_div(found, exact, log_target=True, reduction="sum"))
            positions += ids.shape[1]
        return max(0.0, total / positions)


def open_merge_kl(
    grid: Grid, factors: Mapping[str, Factors], prompts: Sequence[Sequence[int]]
) -> Callable[[Mapping[str, Grid]], float]:
    """Load the factored model and ask it the prompts (non-empty token ids); the result measures candidates."""
    return MergeKl(grid, factors, prompts)


def read_kl_prompts(checkpoint: Checkpoint, data: Path) -> tuple[tuple[int, ...], ...]:
    """Rows of a data file as token ids, prompt and completion, spread over the file and about 512 tokens together.

    Raises DataError when no row can be used.
    """
    encoded = encode_rows(
        read_rows(data), open_tokenizer(checkpoint), checkpoint.eos_token_ids, _TOKENS, raw=False, where=str(data)
    )
    rows = [example.ids for example in encoded.examples]
    count = max(1, min(len(rows), _TOKENS * len(rows) // sum(map(len, rows))))
    return tuple(rows[index * len(rows) // count] for index in range(count))


def _log_probabilities(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (n_positions, vocab_size) of the token after each position."""
    with torch.inference_mode():
        return functional.log_softmax(model(input_ids=ids).logits[0].float(), dim=-1)
