"""Factors of 8 bits: a scale for each rank, and codes; the floats of a file are exactly their products.

array with a row for each rank -> Codes, scales
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int8]

LARGEST_CODE = 127
_BITS = 4  # of a scale: with the seven of a code, the product is exact in float16 as well
_TINY = np.float32(2.0**-100)  # the largest number of a row that counts as zero: no answer depends on it


def round_to_codes(values: FloatArray) -> tuple[Codes, FloatArray]:
    """The nearest codes (ranks, n) and scales (ranks,) for each row of ``values``; what is rounded stays as it is."""
    exact = _exact(values)
    if exact is not None:
        return exact
    scales = _smallest_scales(values)
    codes = np.rint(values / scales[:, None]).astype(np.int8)
    return codes, scales


def find_codes(sides: Sequence[FloatArray]) -> list[tuple[Codes, FloatArray]] | None:
    """Codes and scales whose products are exactly the rows of every side; None where there are none."""
    if any(_exact(side[:1]) is None for side in sides):  # one row nearly always tells
        return None
    found: list[tuple[Codes, FloatArray]] = []
    for side in sides:
        exact = _exact(side)
        if exact is None:
            return None
        found.append(exact)
    return found


def _exact(values: FloatArray) -> tuple[Codes, FloatArray] | None:
    """The largest code of a row may be less than 127, so that its scale is one of a few."""
    scales = _smallest_scales(values)
    for _ in range(3):
        quotients = values / scales[:, None]
        codes = np.rint(quotients)
        is_exact = (codes == quotients).all(axis=1)
        if is_exact.all():
            return codes.astype(np.int8), scales
        scales = np.where(is_exact, scales, _round_up(scales * np.float32(1 + 2.0**-10)))
    return None


def _smallest_scales(values: FloatArray) -> FloatArray:
    """The smallest scale of few bits with which each row has codes up to 127; 1 for a row of zeros."""
    largest: Any = np.abs(values).max(axis=1, initial=0.0)
    return np.where(largest > _TINY, _round_up(largest / np.float32(LARGEST_CODE)), np.float32(1))


def _round_up(scales: Any) -> FloatArray:
    fraction, exponent = np.frexp(scales)  # fraction from 0.5 to 1
    rounded: FloatArray = np.ldexp(np.ceil(fraction * 2**_BITS), exponent - _BITS).astype(np.float32)
    return rounded
