"""One thing that was looked at in an artifact, and how far apart two ways of computing may be.

what was found -> Check
"""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = 1e-3  # of the largest number: what float32 leaves between two ways of adding up
FUSED_TOLERANCE = 1e-3  # of a cosine: what another order of adding up, and activations on the edge of a step, leave


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str
