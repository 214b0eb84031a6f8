"""One finished answer, and the row of a batch that becomes one.

token ids -> Generation
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgelora_runtime.errors import InputError
from edgelora_runtime.generate import FinishReason
from edgelora_runtime.stream import StopFilter, StreamDecoder
from edgelora_runtime.text import Tokenizer
from edgelora_runtime.tool_calls import CallReader, ToolCall


@dataclass(frozen=True)
class Usage:
    """How many tokens went through the model; those of the answer are counted without its end token."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Timings:
    """How long it took: from the call to the first token, and from there to the last; None where there was none."""

    first_token_ms: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class Generation:
    """One answer. ``token_ids`` leaves out the end token; ``choice_scores`` are in the order of the choices given.

    ``tool_calls`` is what the model wants to have called, empty unless tools were given; ``text`` is without them.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    usage: Usage
    timings: Timings = field(default=Timings(), compare=False)
    tool_calls: tuple[ToolCall, ...] = ()
    choice_scores: tuple[float, ...] | None = None

    @property
    def message(self) -> dict[str, Any]:
        """Text and calls as the message that goes before the next one."""
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self.tool_calls
        ]
        return {"role": "assistant", "content": self.text, **({"tool_calls": calls} if calls else {})}


class Row:
    """One row while it is written: tokens in, text out, and what is known of it at the end."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        stops: Sequence[str],
        stop_ids: Collection[int],
        prompt_tokens: int,
        started: float,
        reader: CallReader | None = None,
    ) -> None:
        """``started`` is when it was asked for, by ``time.perf_counter``; ``reader`` takes calls out of its text."""
        self._decoder = StreamDecoder(tokenizer)
        self._filter = StopFilter(stops)
        self._stop_ids = stop_ids
        self._prompt_tokens = prompt_tokens
        self._started = started
        self._reader = reader
        self._token_ids: list[int] = []
        self._text = ""
        self._calls: tuple[ToolCall, ...] = ()
        self._first = self._last = started
        self.is_stopped = False  # whether a stop string or id has come

    def push(self, token: int) -> str:
        """The text that ``token`` lets out, possibly empty."""
        self._last = time.perf_counter()
        if not self._token_ids:
            self._first = self._last
        self._token_ids.append(token)
        text = self._filter.push(self._decoder.push(token))
        self.is_stopped = self._filter.is_stopped or token in self._stop_ids
        return self._add(text if self._reader is None else self._reader.push(text))

    def flush(self) -> str:
        """The text that was held back."""
        text = self._filter.push(self._decoder.flush()) + self._filter.flush()
        if self._reader is None:
            return self._add(text)
        shown = self._reader.push(text)
        rest, self._calls = self._reader.end()
        return self._add(shown + rest)

    def end(self, reason: FinishReason) -> Generation:
        """The answer, which ends for ``reason`` unless a stop string came."""
        count, seconds = len(self._token_ids), self._last - self._first
        timings = Timings(
            (self._first - self._started) * 1e3 if count else None, (count - 1) / seconds if seconds > 0 else None
        )
        return Generation(
            text=self._text,
            token_ids=tuple(self._token_ids),
            finish_reason="stop" if self.is_stopped else reason,
            usage=Usage(self._prompt_tokens, count),
            timings=timings,
            tool_calls=self._calls,
        )

    def _add(self, text: str) -> str:
        self._text += text
        return text


class Written:
    """What is known of a stream's answer so far; whoever writes it and whoever reads it share one."""

    row: Row | None = None
    reason: FinishReason = "cancelled"


class TextStream(Iterator[str]):
    """Pieces of an answer as they are made; ``generation`` is the answer as far as it was read."""

    def __init__(self, pieces: Iterator[str], written: Written) -> None:
        self._pieces = pieces
        self._written = written

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def generation(self) -> Generation:
        """The whole answer once the stream has ended; before that, what there is of it, ``cancelled``.

        Raises InputError where nothing of it was read yet.
        """
        if self._written.row is None:
            raise InputError("nothing of this answer was read yet; iterate over the stream first")
        return self._written.row.end(self._written.reason)

    def close(self) -> None:
        """End the answer with what there is of it, and let others use the model."""
        if close := getattr(self._pieces, "close", None):
            close()
