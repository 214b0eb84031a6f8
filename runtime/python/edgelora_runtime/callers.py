"""Lets the callers of a model in one at a time, whichever threads they come from.

calls of many threads -> one call at a time

A call keeps the others out until it returns, a stream until it ends or is let go.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from edgelora_runtime.errors import InputError

_Piece = TypeVar("_Piece")

_FIRST_PAUSE = 0.5  # seconds


class _Hold:
    """The right to use a model. Whoever takes the key of a stream between two pieces has it, the stream or a call.

    Every step here is one that the interpreter does whole: a stream may be let go by the garbage collector, in any
    thread and between any two steps, and must not wait for anything then.
    """

    def __init__(self, *, is_stream: bool) -> None:
        self.is_stream = is_stream
        self.has_ended = False
        self.thread = threading.current_thread()  # of a stream: the one that took its last piece
        self._keys: list[None] = []

    def put_key(self) -> None:
        """Let the key be taken."""
        self._keys.append(None)

    def take_key(self) -> bool:
        """Take the key; False when it is not there."""
        try:
            self._keys.pop()
        except IndexError:
            return False
        return True


class Callers:
    """One caller at a time; the others wait.

    A thread that has a stream open does not wait for itself: its call goes on at once, and ends the stream with an
    error if it changed what ``state`` returns.
    """

    def __init__(self, state: Callable[[], object]) -> None:
        self._state = state
        self._lock = threading.Lock()  # no RLock: a stream may end in another thread than the one it began in
        self._hold: _Hold | None = None
        self._closed: str | None = None

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed is not None

    def close(self, reason: str) -> None:
        """Refuse every later call, those that wait already too, with ``reason``."""
        self._closed = reason

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait for the callers before, and keep all others out; a call within a call of its thread is part of it."""
        if self._is_own(call := self._hold) and call is not None and not call.is_stream:
            yield
            return
        stream = self._enter(_Hold(is_stream=False))
        state = self._state()
        try:
            self._check_open()
            yield
        finally:
            if stream is not None and self._state() == state:
                self._hold = stream
                stream.put_key()
                if stream.has_ended and stream.take_key():  # let go of in the meantime
                    self._leave()
            else:
                self._leave()

    def stream(self, start: Callable[[], Iterator[_Piece]]) -> Iterator[_Piece]:
        """The pieces of ``start()``, with everybody else kept out from the first ``next`` until the stream is over."""
        hold = _Hold(is_stream=True)
        self._enter(hold)
        has_key = True
        try:
            self._check_open()
            pieces = start()
            while True:
                try:
                    piece = next(pieces)
                except StopIteration:
                    return
                has_key = False
                hold.put_key()
                yield piece
                has_key = hold.take_key()
                if not has_key:
                    raise InputError("another call used this model while an answer was being streamed; finish it first")
                hold.thread = threading.current_thread()
        finally:
            hold.has_ended = True
            if has_key or hold.take_key():
                self._leave()

    def _enter(self, hold: _Hold) -> _Hold | None:
        """Wait until the model is free and take it; an open stream of this thread gives way and is returned."""
        current = self._hold
        stream = current if self._is_own(current) and current is not None and current.take_key() else None
        pause = _FIRST_PAUSE
        while stream is None and not self._lock.acquire(timeout=pause):
            if (current := self._hold) is not None and current.is_stream:
                gc.collect()  # it may be garbage in a circle, as tracebacks make them, while all threads wait for it
            pause *= 2
        self._hold = hold
        return stream

    def _leave(self) -> None:
        self._hold = None
        self._lock.release()

    def _is_own(self, hold: _Hold | None) -> bool:
        return hold is not None and hold.thread is threading.current_thread()

    def _check_open(self) -> None:
        if self._closed is not None:
            raise InputError(self._closed)
