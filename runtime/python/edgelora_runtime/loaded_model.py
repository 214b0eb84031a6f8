"""What every loaded artifact has, whatever its task: adapters by name, callers one at a time, a tokenizer.

an artifact's folder, Manifest, AdapterSet -> LoadedModel
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from edgelora_runtime.adapter import parse_spec
from edgelora_runtime.adapter_set import AdapterSet
from edgelora_runtime.callers import Callers
from edgelora_runtime.errors import AdapterError, InputError
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.text import Tokenizer, read_tokenizer


class LoadedModel:
    """Answers one call at a time: calls of other threads wait until it has returned."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        adapters: AdapterSet,
        state: Callable[[], object],
        release: Callable[[], None],
    ) -> None:
        """``state`` is what a call may change under an open stream, ``release`` gives up what computes."""
        self.manifest = manifest
        self._folder = folder
        self._adapters = adapters
        self._spec = "none"
        self._callers = Callers(state)
        self._release = release
        self._reading = threading.Lock()  # not the callers': text may be encoded while another call computes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the graph and every adapter; later calls raise InputError. Waits for its turn."""
        if not self._callers.is_closed:
            with self._callers.call():
                self._callers.close(f"{self.manifest.model.name} was closed; load the artifact again")
                self._adapters.clear()
                self._release()

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that a SPEC can use."""
        return self._adapters.names

    @property
    def adapter(self) -> str:
        """The SPEC used where a call gives none."""
        return self._spec

    @property
    def tokenizer(self) -> Tokenizer | None:
        """None when the artifact has none. Raises InputError when the packages of the extra ``text`` are missing."""
        with self._reading:
            return self._tokenizer

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer | None:
        info = self.manifest.tokenizer
        if info is None:
            return None
        special = {key: getattr(info, key) for key in ("bos_token", "eos_token", "pad_token", "unk_token")}
        found = read_tokenizer(self._folder, info.file, info.chat_template, special, self.manifest.model.vocab_size)
        return found.with_template(info.template_variables)

    def _text(self, instead: str) -> Tokenizer:
        if self.tokenizer is None:
            raise InputError(f"{self.manifest.model.name} was exported without a tokenizer; use {instead}")
        return self.tokenizer

    def _check_unused(self, name: str) -> None:
        """Raise AdapterError for an adapter that is set."""
        if any(name == used for used, _ in parse_spec(self._spec)):
            raise AdapterError(f"adapter {name!r} is in use ({self._spec!r} is set); set another one first")

    def _specs(self, adapter: str | list[str] | None, n_rows: int, rows: str = "prompt") -> list[str]:
        if n_rows == 0:
            raise InputError(f"the batch is empty; give at least one {rows}")
        if not isinstance(adapter, (list, tuple)):
            return [self._spec if adapter is None else adapter] * n_rows
        if len(adapter) != n_rows:
            raise InputError(f"{len(adapter)} adapters for {n_rows} {rows}s; give one SPEC, or one for each {rows}")
        return list(adapter)
