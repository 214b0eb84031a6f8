"""Runs a graph without a KV cache as bytes over the weights of an artifact, with a head that is given and empty slots.

bytes of a graph, Manifest, head -> outputs

What the device really runs is the runtime's matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora.artifact.exact import open_bytes, zero_factors
from edgelora.values import FloatArray
from edgelora_runtime.head import pack_head
from edgelora_runtime.manifest import EncoderInfo, Manifest


class ExactEncoder:
    """One text, or image, a call on ``model``, the bytes of an onnx model over the weights in ``folder``."""

    def __init__(
        self,
        model: bytes,
        folder: Path,
        manifest: Manifest,
        encoder: EncoderInfo,
        head: Mapping[str, FloatArray],
        threads: int | None = None,
    ) -> None:
        self._session = open_bytes(model, folder, threads)
        self._slots = manifest.slots
        self._encoder = encoder
        self._head = pack_head(head, encoder.head)

    def output(self, given: npt.NDArray[Any], rank: int = 0) -> FloatArray:
        """What comes out for token ids (tokens,), or pixels (channels, height, width); ``rank`` zeros lie in slots."""
        feeds: dict[str, npt.NDArray[Any]] = {self._encoder.inputs[0]: given[None]}
        if len(self._encoder.inputs) > 1:
            feeds[self._encoder.inputs[1]] = np.ones((1, len(given)), np.int64)
        feeds |= zero_factors(self._slots, rank) | self._head
        found: FloatArray = self._session.run([self._encoder.output], feeds)[0][0]
        return found
