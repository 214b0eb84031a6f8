"""Text as it is made: one token at a time into whole characters, and an end at stop strings.

token ids -> text, piece by piece

``text.py`` decodes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelora_runtime.text import Tokenizer

_REPLACEMENT = "\ufffd"  # what a decoder writes for bytes that are no complete UTF-8 character


class StreamDecoder:
    """Turns one token at a time into text; what is not yet a whole UTF-8 character waits for the next token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = 0  # decoding from here on keeps the cost of a step independent of the length so far
        self._shown = 0  # ids whose text was handed out

    def push(self, token: int) -> str:
        """The text that ``token`` completes, possibly empty."""
        self._ids.append(token)
        return self._take(is_last=False)

    def flush(self) -> str:
        """What waits at the end; an incomplete character becomes U+FFFD."""
        return self._take(is_last=True)

    def _take(self, is_last: bool) -> str:
        # Decoders may drop a leading blank, so the tokens shown last are decoded again in front of the new ones.
        before = self._tokenizer.decode(self._ids[self._start : self._shown])
        after = self._tokenizer.decode(self._ids[self._start :])
        if len(after) <= len(before) or (after.endswith(_REPLACEMENT) and not is_last):
            return ""
        self._start, self._shown = self._shown, len(self._ids)
        return after[len(before) :]


class StopFilter:
    """Passes text through until a stop string appears; no character of one is ever let out."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.is_stopped = False

    def push(self, text: str) -> str:
        """What can be shown now. After a stop string ``is_stopped`` is set and nothing more comes."""
        if self.is_stopped:
            return ""
        self._held += text
        found = [position for stop in self._stops if (position := self._held.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        n_held = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - n_held], self._held[len(self._held) - n_held :]
        return shown

    def flush(self) -> str:
        """What was held back and turned out to be no stop string."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
