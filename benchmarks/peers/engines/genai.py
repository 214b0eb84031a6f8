"""onnxruntime-genai as a worker, run in its own environment.

Knows nothing about how the models were built; an adapter that its builder put into the graph is always on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import onnxruntime_genai as og  # type: ignore[import-not-found]  # lives in this engine's environment alone

from benchmarks.peers.turns import CAPACITY, Opening, serve


class GenaiEngine:
    """One model for each subject."""

    version = f"onnxruntime-genai {og.__version__}"

    def __init__(self, opening: Opening) -> None:
        options = {"intra_op_num_threads": opening.threads}
        overlay = json.dumps({"model": {"decoder": {"session_options": options}}})
        self._models = {}
        for subject in opening.subjects:
            config = og.Config(subject.model)
            config.overlay(overlay)
            self._models[subject.label] = og.Model(config)

    def reset(self, label: str) -> None:
        """A fresh generator; the least length keeps it from ending at an end token."""
        model = self._models[label]
        parameters = og.GeneratorParams(model)
        parameters.set_search_options(max_length=CAPACITY, min_length=CAPACITY, do_sample=False)
        self._generator = og.Generator(model, parameters)

    def prefill(self, ids: Sequence[int]) -> None:
        """Append the prompt; the first token is chosen from logits that are there already."""
        self._generator.append_tokens(np.array(ids, np.int32))
        self._generator.generate_next_token()

    def step(self) -> int:
        """Feed the last token and choose the next."""
        self._generator.generate_next_token()
        return int(self._generator.get_next_tokens()[0])

    def extra(self, name: str) -> list[float]:
        """Nothing beside the turns."""
        raise KeyError(name)


if __name__ == "__main__":
    serve(GenaiEngine)
