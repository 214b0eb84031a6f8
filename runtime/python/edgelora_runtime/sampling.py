"""Chooses the next token from logits: greedy, or a seeded draw that every language repeats exactly.

logits, SamplingOptions -> token id

``docs/format.md`` is the definition.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgelora_runtime.errors import InputError

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

_MASK64 = (1 << 64) - 1
_MULTIPLIER = 6364136223846793005
_STREAM = 54
_CHUNK = 64  # logits per chunk when a bound for the largest ones is looked for
_FIRST_CANDIDATES = 128  # almost every draw ends within these; more are sorted only when it does not
ROUGHNESS = 1e-4  # a float32 sum of float32 exponentials is nearer than that to the exact one
_LEAST_ROUGH_TEMPERATURE = 1e-6  # below it, quotients overflow float32


class Pcg32:
    """The PCG32 generator (XSH-RR, 64-bit state), seeded as in its reference algorithm."""

    def __init__(self, seed: int, stream: int = _STREAM) -> None:
        self._increment = ((stream << 1) | 1) & _MASK64
        self._state = 0
        self.next_uint32()
        self._state = (self._state + seed) & _MASK64
        self.next_uint32()

    def next_uint32(self) -> int:
        """The next 32 bits."""
        old = self._state
        self._state = (old * _MULTIPLIER + self._increment) & _MASK64
        shifted = (((old >> 18) ^ old) >> 27) & 0xFFFFFFFF
        rotation = old >> 59
        return ((shifted >> rotation) | (shifted << ((-rotation) & 31))) & 0xFFFFFFFF

    def uniform(self) -> float:
        """A number in [0, 1) with 32 random bits."""
        return self.next_uint32() / 4294967296.0


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen; ``temperature`` 0 is greedy. All wrong values are reported in one InputError."""

    temperature: float = 0.0
    top_k: int = 0  # 0: no limit
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {value!r}, expected {expected}"
            for name, value, is_right, expected in (
                ("temperature", self.temperature, _is_number(self.temperature, 0.0, math.inf), "a number from 0"),
                ("top_k", self.top_k, _is_whole(self.top_k, 0, math.inf), "a whole number from 0 (0: no limit)"),
                (
                    "top_p",
                    self.top_p,
                    _is_number(self.top_p, 0.0, 1.0) and self.top_p > 0,
                    "a number above 0 and up to 1",
                ),
                ("min_p", self.min_p, _is_number(self.min_p, 0.0, 1.0), "a number from 0 to 1"),
                (
                    "repetition_penalty",
                    self.repetition_penalty,
                    _is_number(self.repetition_penalty, 0.0, math.inf) and self.repetition_penalty > 0,
                    "a number above 0 (1: no penalty)",
                ),
                (
                    "seed",
                    self.seed,
                    self.seed is None or _is_whole(self.seed, 0, _MASK64),
                    "a whole number from 0 to 2**64 - 1, or None",
                ),
            )
            if not is_right
        ]
        if wrong:
            raise InputError("; ".join(wrong))

    @property
    def takes_largest(self) -> bool:
        """Whether the token with the largest logit is always chosen."""
        return self.temperature == 0 and self.repetition_penalty == 1


class Sampler:
    """Chooses the tokens of one row, remembering what the repetition penalty and the generator need."""

    def __init__(self, options: SamplingOptions, prompt_ids: Sequence[int] = (), row: int = 0) -> None:
        self._options = options
        seed = int.from_bytes(os.urandom(8), "little") if options.seed is None else options.seed
        self._generator = Pcg32(seed, _STREAM + row)
        self._penalized = options.repetition_penalty != 1.0
        self._seen = np.unique(np.asarray(prompt_ids, dtype=np.int64))
        self._n_seen = len(self._seen)

    def choose(self, logits: FloatArray) -> int:
        """The next token for ``logits`` (vocab_size,); the array is left as it was."""
        scores: FloatArray | DoubleArray = self._penalize(logits) if self._penalized else logits
        token = int(scores.argmax()) if self._options.temperature == 0 else self._draw(scores)
        if self._penalized:
            self._remember(token)
        return token

    def _penalize(self, logits: FloatArray) -> DoubleArray:
        scores = logits.astype(np.float64)
        seen = self._seen[: self._n_seen]
        values = scores[seen]
        penalty = self._options.repetition_penalty
        scores[seen] = np.where(values > 0, values / penalty, values * penalty)
        return scores

    def _remember(self, token: int) -> None:
        if self._n_seen == len(self._seen):
            self._seen = np.concatenate([self._seen, np.zeros(max(64, self._n_seen), np.int64)])
        self._seen[self._n_seen] = token
        self._n_seen += 1

    def _draw(self, scores: FloatArray | DoubleArray) -> int:
        options = self._options
        uniform = self._generator.uniform()
        if 0 < options.top_k < len(scores):
            order = largest(scores, options.top_k)
            weights = np.exp((scores[order].astype(np.float64) - float(scores[order[0]])) / options.temperature)
            return int(order[_pick(weights, float(weights.sum()), uniform, options, is_all=True)])
        if len(scores) > _FIRST_CANDIDATES and options.temperature >= _LEAST_ROUGH_TEMPERATURE:
            order = largest(scores, _FIRST_CANDIDATES)
            weights = np.exp((scores[order].astype(np.float64) - float(scores[order[0]])) / options.temperature)
            total = rough_total(scores, scores[order[0]], options.temperature)
            # The pick never moves back as the total grows: what both bounds pick, the exact total picks too.
            least = _pick(weights, total * (1 - ROUGHNESS), uniform, options, is_all=False)
            if 0 <= least == _pick(weights, total * (1 + ROUGHNESS), uniform, options, is_all=False):
                return int(order[least])
        return _draw_exactly(scores, uniform, options)


def largest(scores: FloatArray | DoubleArray, count: int) -> IndexArray:
    """Indices of the ``count`` largest scores, largest first, the lower index first among equals."""
    n_chunks = len(scores) // _CHUNK
    if count >= n_chunks:
        indices = np.arange(len(scores))
    else:
        # The count-th largest of the chunk maxima is at most the count-th largest score, so nothing above it is lost.
        # A chunk is a column: numpy compares whole rows at once, ten times faster than within a row.
        peaks = scores[: n_chunks * _CHUNK].reshape(_CHUNK, n_chunks).max(axis=0)
        indices = np.flatnonzero(scores >= np.partition(peaks, n_chunks - count)[n_chunks - count])
    order: IndexArray = indices[np.argsort(-scores[indices], kind="stable")[:count]]
    return order


def log_softmax(logits: npt.NDArray[np.floating]) -> DoubleArray:
    """Log-probabilities over the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def rough_total(scores: FloatArray | DoubleArray, best: np.floating, temperature: float) -> float:
    """The sum of all weights within ``ROUGHNESS`` of itself, at half the cost of float64, or far less."""
    weights = (scores - best).astype(np.float32, copy=False)
    weights /= np.float32(temperature)
    np.exp(weights, out=weights)
    return float(weights.sum())


def _draw_exactly(scores: FloatArray | DoubleArray, uniform: float, options: SamplingOptions) -> int:
    weights = scores.astype(np.float64)
    weights -= float(scores.max())
    weights /= options.temperature
    np.exp(weights, out=weights)
    total = float(weights.sum())
    count = min(_FIRST_CANDIDATES, len(scores))
    while True:
        order = largest(scores, count)
        index = _pick(weights[order], total, uniform, options, is_all=count == len(scores))
        if index >= 0:
            return int(order[index])
        count = min(count * 16, len(scores))


def _pick(weights: DoubleArray, total: float, uniform: float, options: SamplingOptions, is_all: bool) -> int:
    """Index of the drawn candidate among descending ``weights``; -1 when the answer may lie beyond them."""
    cumulated = np.cumsum(weights)
    kept, mass = len(weights), total
    if options.top_p < 1.0:
        if not is_all and cumulated[-1] < options.top_p * total:
            return -1
        kept = min(kept, int(np.searchsorted(cumulated, options.top_p * total, side="left")) + 1)
    if options.min_p > 0.0:
        n_likely = int(np.count_nonzero(weights >= options.min_p * weights[0]))
        if not is_all and n_likely == len(weights) and kept == len(weights):
            return -1
        kept = min(kept, n_likely)
    if options.top_p < 1.0 or options.min_p > 0.0:
        mass = float(cumulated[kept - 1])
    index = int(np.searchsorted(cumulated[:kept], uniform * mass, side="right"))
    if index == kept and kept == len(weights) and not is_all:
        return -1
    return min(index, kept - 1)


def _is_number(value: object, low: float, high: float) -> bool:
    is_real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return is_real and math.isfinite(float(value)) and low <= float(value) <= high  # type: ignore[arg-type]


def _is_whole(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and low <= int(value) <= high
