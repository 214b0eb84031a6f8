"""transformers and PEFT in float32 as a worker, run in their own environment.

Knows nothing about grids. With the adapter off its layers are still wrapped, as they are for everyone who switches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import peft
import torch
import transformers

from benchmarks.peers.turns import Opening, serve


class PeftEngine:
    """One model, with every adapter of the subjects loaded into it."""

    version = f"transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}"

    def __init__(self, opening: Opening) -> None:
        torch.set_num_threads(opening.threads)
        torch.set_grad_enabled(False)
        transformers.utils.logging.set_verbosity_error()
        folders = {subject.model for subject in opening.subjects}
        base = transformers.AutoModelForCausalLM.from_pretrained(folders.pop(), torch_dtype=torch.float32)
        self._adapters = {subject.label: next(iter(subject.adapters), None) for subject in opening.subjects}
        loaded = sorted({folder for folder in self._adapters.values() if folder is not None})
        self._names = {folder: f"adapter{index}" for index, folder in enumerate(loaded)}
        self._model = peft.PeftModel.from_pretrained(base, loaded[0], adapter_name="adapter0")
        for folder in loaded[1:]:
            self._model.load_adapter(folder, adapter_name=self._names[folder])
        self._model.eval()

    def reset(self, label: str) -> None:
        """Choose the adapter, or disable all of them, and forget the cache."""
        folder = self._adapters[label]
        if folder is not None:
            self._model.set_adapter(self._names[folder])
        self._is_off = folder is None
        self._cache = None

    def prefill(self, ids: Sequence[int]) -> None:
        """Feed the prompt; logits of the last position."""
        self._feed(torch.tensor([list(ids)]))

    def step(self) -> int:
        """One token."""
        self._feed(self._token)
        return int(self._token)

    def extra(self, name: str) -> list[float]:
        """Nothing beside the turns."""
        raise KeyError(name)

    def _feed(self, ids: torch.Tensor) -> None:
        with self._model.disable_adapter() if self._is_off else contextlib.nullcontext():
            found = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cache = found.past_key_values
        self._token = found.logits[:, -1].argmax(-1, keepdim=True)


if __name__ == "__main__":
    serve(PeftEngine)
