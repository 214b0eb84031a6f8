"""What a float model was seen doing on calibration text: moments of the inputs of its linears.

moments by tensor name -> Calibration

``torch_model`` collects it, ``gptq`` and ``quantize_ranges`` read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgelora.values import FloatArray


@dataclass(frozen=True)
class Calibration:
    """Linears that share an input share one array, so the whole costs in_features ** 2 floats for each input."""

    fingerprint: str  # SHA-256 (hex) of the token ids
    rows: int  # sequences
    tokens: int
    hessians: Mapping[str, FloatArray]  # tensor name -> mean of x x^T over tokens, (in_features, in_features)
    # Tensor name -> how large each input is, squared: (in_features,), whole powers of two times the mean.
    importance: Mapping[str, FloatArray] = field(default_factory=dict)
