"""Prompt lookup: guesses the next tokens from what the text said before, so that one step can hand out several.

token ids -> a guess of the next ones

A guess costs time when it is wrong, and never changes what is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgelora_runtime.generate import Decoding

LONGEST_MATCH = 3  # tokens; four gained nothing on five kinds of text (docs/log.md)
MOST_DRAFTED = 8  # tokens in a draft
TOKEN_COST = 0.25  # what one more token adds to a step, in steps of one token; int4 on a CPU
ALLOWANCE = 0.03  # the share of all steps that wrong guesses may cost
FIRST_CREDIT = 0.5  # steps that they may cost beyond that, once for an answer

_FIRST_RATES = (0.15, 0.45, 0.7)  # share of right guesses after matches of 1, 2 and 3 tokens, until there is evidence
_FIRST_WEIGHT = 4.0  # guesses that these shares stand for
_DECAY = 0.9  # what an older guess counts for beside the next one


class Drafter:
    """Guesses what follows a row of tokens, and learns from each token that does follow.

    The row is taken to go on as it did after the latest earlier place where its last three tokens stood, else its last
    two, else its last. The first token of a guess is judged even if nobody tried it, which costs no step: drafting
    starts where guesses turn out right. However wrong they are, they cost ``ALLOWANCE`` of the steps of an answer and
    ``FIRST_CREDIT`` steps at most, as far as ``TOKEN_COST`` is true.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._next: tuple[dict[tuple[int, ...], int], ...] = tuple({} for _ in range(LONGEST_MATCH))
        self._right = [rate * _FIRST_WEIGHT for rate in _FIRST_RATES]
        self._judged = [_FIRST_WEIGHT] * LONGEST_MATCH
        self._credit = FIRST_CREDIT
        self._match = 0  # tokens of the match that the guess follows
        self._guess: list[int] = []  # tokens not judged yet
        self._is_draft = False  # whether they are being tried
        for token in ids:
            self._append(token)
        self._look()

    def push(self, token: int) -> None:
        """Take the token that follows."""
        is_right = bool(self._guess) and self._guess.pop(0) == token
        if self._match:
            kind = self._match - 1
            self._right[kind] = _DECAY * self._right[kind] + is_right
            self._judged[kind] = _DECAY * self._judged[kind] + 1
        self._credit += 1 if is_right and self._is_draft else ALLOWANCE  # a token that took no step, or one that did
        self._append(token)
        if not is_right or not self._guess:
            self._look()

    def draft(self, limit: int) -> list[int]:
        """At most ``limit`` tokens worth trying next: as many as pay on average, within the credit; often none."""
        if not self._guess:
            return []
        rate = self._right[self._match - 1] / self._judged[self._match - 1]
        count, best, gain, likely = 0, 1.0, 1.0, 1.0
        for length in range(1, min(limit, MOST_DRAFTED, int(self._credit / TOKEN_COST)) + 1):
            likely *= rate
            gain += likely  # tokens that the step hands out on average
            if (speed := gain / (1 + TOKEN_COST * length)) > best:
                count, best = length, speed
        if count:
            self._credit -= TOKEN_COST * count
            self._guess, self._is_draft = self._continue(count), True
        return self._guess[:count]

    def _append(self, token: int) -> None:
        end = len(self._ids)
        for length, places in enumerate(self._next[:end], start=1):
            places[tuple(self._ids[end - length :])] = end
        self._ids.append(token)

    def _look(self) -> None:
        self._is_draft = False
        for length in range(min(LONGEST_MATCH, len(self._ids)), 0, -1):
            place = self._next[length - 1].get(tuple(self._ids[-length:]))
            if place is not None:
                self._match, self._place, self._guess = length, place, self._ids[place : place + 1]
                return
        self._match, self._guess = 0, []

    def _continue(self, count: int) -> list[int]:
        """``count`` tokens as they followed before; where the row ends, the guess goes on with itself."""
        period = len(self._ids) - self._place
        return [self._ids[self._place + index % period] for index in range(count)]


class LookupDecoding(Decoding):
    """Decodes a single row with drafts; several rows as ``Decoding`` does.

    Each token is chosen from the logits after the tokens before it, by the row's own sampler and in their order. Drafts
    only decide how many of those logits a step computes, so sampling, penalties, end tokens and stop strings act as
    they do without. Equal logits give equal tokens; a graph may round several tokens differently from one.
    """

    n_steps = 0  # steps after the prompt
    n_drafted = 0  # tokens tried in them
    n_right = 0  # of those, the ones handed out

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return super().__iter__() if len(self._prompts) > 1 else self._decode_row()

    def _decode_row(self) -> Iterator[tuple[int, int]]:
        session = self._session
        drafter = Drafter(self._prompts[0])
        draft: list[int] = []
        token = 0
        n_left = self._max_new_tokens
        logits = self._feed_prompt()
        while True:
            length = int(session.lengths[0]) - len(draft)
            for index, scores in enumerate(logits):
                chosen = self._choose(0, scores)
                if chosen is None:
                    return
                token = chosen
                is_right = index < len(draft) and draft[index] == token
                self.n_right += is_right
                n_left -= 1
                yield 0, token
                if not self._is_active[0]:
                    return
                drafter.push(token)
                if not is_right:
                    break
                length += 1
            n_free = session.context_length - length
            if n_left == 0 or n_free == 0:
                return
            if length < len(session.tokens):
                session.rewind(length)
            draft = drafter.draft(min(n_left, n_free) - 1)
            self.n_steps += 1
            self.n_drafted += len(draft)
            if draft:
                logits = session.prefill([token, *draft], range(1 + len(draft)))
            else:
                logits = session.decode(np.array([token]), self._is_active)
