"""Decode loops over token ids: one row or many, restricted choices, log-probabilities.

Session, BoundAdapter, token ids -> token ids, log-probabilities

The caller turns tokens into characters and says when a row has seen enough.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgelora_runtime.bound_adapter import BoundAdapter
from edgelora_runtime.prefix import shared_length
from edgelora_runtime.sampling import Sampler, log_softmax
from edgelora_runtime.session import Session

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

FinishReason = Literal["stop", "length", "choice", "cancelled"]
"""Why an answer ended; ``cancelled`` is one that was stopped by whoever read it."""
# Changes the logits (vocab_size,) after these tokens in place; True ends the row before another token.
Process = Callable[[list[int], FloatArray], bool | None]


class Decoding:
    """Generates rows together; iterate for (row, token), call ``finish`` to end a row early.

    Tokens in ``end_ids`` end a row and are not handed out. ``reasons`` says why each row ended.
    """

    def __init__(
        self,
        session: Session,
        adapter: BoundAdapter,
        prompts: Sequence[Sequence[int]],
        samplers: Sequence[Sampler],
        max_new_tokens: int,
        end_ids: Collection[int],
        processes: Sequence[Process | None] = (),
        start: int = 0,
    ) -> None:
        """``processes`` has one entry for each row, or none at all; ``start`` is where a single row's adapter acts."""
        self._session = session
        self._adapter = adapter
        self._prompts = prompts
        self._samplers = samplers
        self._max_new_tokens = max_new_tokens
        self._end_ids = frozenset(end_ids)
        self._is_active = np.ones(len(prompts), np.bool_)
        self._start = start
        self._processes = list(processes) or [None] * len(prompts)
        self._so_far = [list(ids) if process else [] for ids, process in zip(prompts, self._processes, strict=True)]
        self.reasons: list[FinishReason] = ["length"] * len(prompts)

    def finish(self, row: int, reason: FinishReason = "stop") -> None:
        """End ``row`` after the token that was handed out last."""
        self._is_active[row] = False
        self.reasons[row] = reason

    def _feed_prompt(self) -> FloatArray:
        """Logits (1, vocab_size) after the prompt of the single row."""
        prompt = self._prompts[0]
        return feed(self._session, self._adapter, prompt, len(prompt) - 1, self._start)

    def _choose(self, row: int, logits: FloatArray) -> int | None:
        """The next token of ``row``; None where the row has ended, and is finished."""
        process = self._processes[row]
        if process is not None:
            logits = logits.copy()  # what a session hands out may be its own memory
            if process(self._so_far[row], logits) is True:
                self.finish(row)
                return None
        token = self._samplers[row].choose(logits)
        if token in self._end_ids:
            self.finish(row)
            return None
        if process is not None:
            self._so_far[row].append(token)
        return token

    def __iter__(self) -> Iterator[tuple[int, int]]:
        session, n_rows = self._session, len(self._prompts)
        if n_rows == 1:
            logits = self._feed_prompt()
        else:
            session.begin(n_rows, self._adapter)
            logits = session.prefill_rows(self._prompts)
        tokens = np.zeros(n_rows, np.int64)
        for count in range(1, self._max_new_tokens + 1):
            for row in range(n_rows):
                if not self._is_active[row]:
                    continue
                token = self._choose(row, logits[row])
                if token is None:
                    continue
                tokens[row] = token
                yield row, token
            self._is_active &= session.lengths < session.context_length
            if count == self._max_new_tokens or not self._is_active.any():
                return
            logits = session.decode(tokens, self._is_active)


def feed(session: Session, adapter: BoundAdapter, ids: Sequence[int], first: int, start: int = 0) -> FloatArray:
    """Logits (len(ids) - first, vocab_size) after each of the tokens from index ``first`` on."""
    return logits_at(session, adapter, ids, range(first, len(ids)), start)


def logits_at(
    session: Session, adapter: BoundAdapter, ids: Sequence[int], positions: Sequence[int], start: int = 0
) -> FloatArray:
    """Put ``ids`` into the single row, keeping the longest common beginning of the cache.

    The adapter acts from index ``start`` on. Returns logits (len(positions), vocab_size) after the tokens at
    ``positions``, of which there must be one.
    """
    n_kept = session.resume(adapter, ids, min(positions), start)
    return session.prefill(ids[n_kept:], [position - n_kept for position in positions])


def score_tokens(
    session: Session, adapter: BoundAdapter, prompt: Sequence[int], completion: Sequence[int], start: int = 0
) -> DoubleArray:
    """Log-probability of each token of ``completion`` after ``prompt``: (len(completion),)."""
    if not completion:
        return np.zeros(0)
    logits = feed(session, adapter, [*prompt, *completion[:-1]], len(prompt) - 1, start)
    scores: DoubleArray = log_softmax(logits)[np.arange(len(completion)), np.asarray(completion)]
    return scores


def score_choices(
    session: Session,
    adapter: BoundAdapter,
    prompt: Sequence[int],
    choices: Sequence[Sequence[int]],
    end_ids: Collection[int],
    start: int = 0,
) -> tuple[float, ...]:
    """Summed log-probability of the tokens of each choice and of ending there.

    Ending means any of ``end_ids``; with none of them the tokens alone count. The prompt is computed once, and
    choices that begin alike share that beginning.
    """
    ends = sorted(end_ids)
    after = [
        log_softmax(feed(session, adapter, prompt, len(prompt) - 1, start)[0])
    ]  # one more than the tokens of `path`
    path: list[int] = []
    scores = [0.0] * len(choices)
    for index in sorted(range(len(choices)), key=lambda item: list(choices[item])):
        choice = list(choices[index])
        n_shared = shared_length(path, choice)
        session.rewind(len(prompt) + n_shared)
        path, after = choice, after[: n_shared + 1]
        if rest := choice[n_shared:]:
            after.extend(log_softmax(session.prefill(rest, range(len(rest)))))
        score = float(sum(after[position][token] for position, token in enumerate(choice)))
        scores[index] = score + (float(np.logaddexp.reduce(after[-1][ends])) if ends else 0.0)
    return tuple(scores)
