"""How far a model's answers move when some of its weights hold other values.

torch model, prompts -> Divergence
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from edgelora.torch_model.merged import set_weight
from edgelora.values import FloatArray

ReadValue = Callable[[str], FloatArray]  # tensor name -> its value


class Divergence:
    """KL(model as it was || with other weights) in nats, the mean over positions; what it was is asked once.

    ``original`` gives what a tensor held, to put it back. ``last`` looks at so many positions of each prompt, at the
    end, where the answer stands; None looks at all. The model keeps the weights of the last call, since many calls
    differ in one layer.
    """

    def __init__(
        self, model: Any, original: ReadValue, prompts: Sequence[Sequence[int]], last: int | None = None
    ) -> None:
        self._model = model
        self._original = original
        self._last = last or 0  # as transformers means it: 0 is every position
        device = next(model.parameters()).device
        self._prompts = [torch.tensor([list(prompt)], device=device) for prompt in prompts]
        self._before = [self._answer(ids) for ids in self._prompts]
        self._held: dict[str, ReadValue] = {}

    def __call__(self, changed: Mapping[str, ReadValue]) -> float:
        """The divergence with these tensors read from there, and all others as they were."""
        for name in self._held.keys() - changed.keys():
            set_weight(self._model, name, self._original(name))
            del self._held[name]
        for name, read in changed.items():
            if self._held.get(name) != read:
                set_weight(self._model, name, read(name))
                self._held[name] = read
        if not changed:
            return 0.0
        total, positions = 0.0, 0
        for ids, before in zip(self._prompts, self._before, strict=True):
            after = self._answer(ids)
            total += self._apart(before, after)
            positions += before.shape[0]
        return max(0.0, total / positions)

    def _answer(self, ids: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (positions, vocab_size) of the token after each position."""
        with torch.inference_mode():
            logits = self._model(input_ids=ids, use_cache=False, logits_to_keep=self._last).logits[0]
            return torch.log_softmax(logits.float(), dim=-1)

    def _apart(self, before: torch.Tensor, after: torch.Tensor) -> float:
        """Sum over positions."""
        return float((before.exp() * (before - after)).sum())


class HiddenDivergence(Divergence):
    """The same of a model that reads a text once: the share of what stands behind its layers that is off.

    Squares over squares, at every token; ``last`` has no say.
    """

    def _answer(self, ids: torch.Tensor) -> torch.Tensor:
        """The last hidden state (positions, hidden_size)."""
        with torch.inference_mode():
            found: torch.Tensor = self._model.base_model(input_ids=ids).last_hidden_state[0].float()
            return found

    def _apart(self, before: torch.Tensor, after: torch.Tensor) -> float:
        return float(((after - before).square().sum(-1) / before.square().sum(-1).clamp(min=1e-12)).sum())
