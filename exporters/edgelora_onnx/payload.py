"""An initializer's content that is computed only when it is written.

key, shape, a function -> Payload

``emit`` writes each key once, however many initializers point at it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Payload:
    """``key`` names the bytes: two initializers with one key share them on disk, each with its own shape."""

    key: str
    shape: tuple[int, ...]
    dtype: npt.DTypeLike
    produce: Callable[[], npt.NDArray[Any]]

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize
