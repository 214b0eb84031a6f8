"""How much two adapters disturb each other on the prompts of each, before anybody ships their blend.

Ask, Question of each adapter -> Interference
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgelora.data.encode import Example
from edgelora_runtime.receipt import Receipt

Numbers = npt.NDArray[np.floating]
NONE, A, B, BLEND = "none", "a", "b", "blend"  # who is asked


@dataclass(frozen=True)
class Question:
    """Token ids, and the places after which the next token is asked for."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]


# Log-probabilities (n_positions, vocab_size) of the next token, of the base, an adapter or the blend.
Ask = Callable[[Question, str], Numbers]


@dataclass(frozen=True)
class Disturbance:
    """What the blend does to one adapter on its own prompts; KL divergences in nats, means over positions."""

    prompts: int
    positions: int
    kl: float  # adapter alone || blend
    largest_kl: float  # of any position
    effect: float  # adapter alone || base: how much there is to lose
    top_changed: float  # share of positions at which the likeliest token is another

    @property
    def share_lost(self) -> float | None:
        """The first KL over the effect; above 1 the blend is further from the adapter than the base is."""
        return self.kl / self.effect if self.effect > 0 else None


@dataclass(frozen=True)
class Interference:
    """What each of two adapters suffers from the other."""

    a: Disturbance
    b: Disturbance


def measure_interference(ask: Ask, questions: Mapping[str, Sequence[Question]]) -> Interference:
    """Ask base, adapter and blend the ``questions`` of ``a`` and of ``b``."""
    return Interference(*(_disturbance(ask, questions[name], name) for name in (A, B)))


def questions_of_probes(receipt: Receipt | None) -> list[Question]:
    """The built-in prompts of a receipt, asked for their first token; none where it has none."""
    probes = () if receipt is None else receipt.probes
    return [Question(probe.input_ids, (len(probe.input_ids) - 1,)) for probe in probes]


def questions_of_examples(examples: Iterable[Example]) -> list[Question]:
    """Rows, asked for every token of their answers, given those before it."""
    return [Question(item.ids[:-1], tuple(range(item.prompt_length - 1, len(item.ids) - 1))) for item in examples]


def _disturbance(ask: Ask, questions: Sequence[Question], name: str) -> Disturbance:
    lost: list[Numbers] = []
    effects: list[Numbers] = []
    changed = 0
    for question in questions:
        alone = ask(question, name).astype(np.float64)
        blend = ask(question, BLEND)
        lost.append(_kl(alone, blend))
        effects.append(_kl(alone, ask(question, NONE)))
        changed += int(np.count_nonzero(alone.argmax(axis=1) != blend.argmax(axis=1)))
    every = np.concatenate(lost)
    return Disturbance(
        prompts=len(questions),
        positions=len(every),
        kl=float(every.mean()),
        largest_kl=float(every.max()),
        effect=float(np.concatenate(effects).mean()),
        top_changed=changed / len(every),
    )


def _kl(before: Numbers, after: Numbers) -> Numbers:
    """KL at every position; rounding never makes it negative."""
    found: Numbers = np.maximum(0.0, (np.exp(before) * (before - after)).sum(axis=1))
    return found
