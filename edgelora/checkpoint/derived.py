"""A checkpoint that answers as its base does; a subclass changes the tensors that it is about.

Checkpoint -> DerivedCheckpoint
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelora.values import Checkpoint, FloatArray, QuantizedMatrix, Task, TokenizerFiles


@dataclass(frozen=True)
class DerivedCheckpoint:
    """Implements ``edgelora.values.Checkpoint`` by asking ``base``."""

    base: Checkpoint

    @property
    def name(self) -> str:
        """Name of the base."""
        return self.base.name

    @property
    def config(self) -> Mapping[str, Any]:
        """Configuration of the base."""
        return self.base.config

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Token ids of the base that end an answer."""
        return self.base.eos_token_ids

    @property
    def tokenizer(self) -> TokenizerFiles | None:
        """Tokenizer of the base."""
        return self.base.tokenizer

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the base."""
        return self.base.notes

    @property
    def task(self) -> Task:
        """Task of the base."""
        return self.base.task

    def names(self) -> tuple[str, ...]:
        """Every tensor name, sorted."""
        return self.base.names()

    def head_names(self) -> tuple[str, ...]:
        """Tensors of the base's head."""
        return self.base.head_names()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor without reading it."""
        return self.base.shape(name)

    def read(self, name: str) -> FloatArray:
        """The base's tensor."""
        return self.base.read(name)

    def packed(self, name: str) -> QuantizedMatrix | None:
        """The base's own codes."""
        return self.base.packed(name)
