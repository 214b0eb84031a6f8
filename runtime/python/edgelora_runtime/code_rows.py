"""Factors that a file holds as codes of 8 bits: a row for each rank, with its scale behind the codes.

arrays by name -> the same with factors as floats
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgelora_runtime.adapter_config import EXPECTED
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.safetensors import Array

FloatArray = npt.NDArray[np.float32]

_KEY = re.compile(r".+\.lora_([AB])(?:\.default)?\.weight")
_SCALE_BYTES = 4  # a little-endian float32
_NO_CODE = -128


def join_rows(codes: npt.NDArray[np.int8], scales: FloatArray) -> npt.NDArray[np.int8]:
    """Codes (rank, n) and scales (rank,) as a file has them: (rank, n + 4, 1), which nobody takes for a matrix."""
    ends = np.ascontiguousarray(scales, "<f4").view(np.int8).reshape(-1, _SCALE_BYTES)
    return np.ascontiguousarray(np.concatenate([codes, ends], axis=1)[:, :, None])


def widen_rows(tensors: Mapping[str, Array], where: str) -> dict[str, Array]:
    """The tensors of an adapter with every factor as float32: A (rank, in_features), B (out_features, rank).

    Raises one AdapterError, which calls the adapter ``where``.
    """
    found, wrong = dict(tensors), []
    for key, value in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None or not _is_rows(value):
            continue
        codes = value[:, :-_SCALE_BYTES, 0]
        scales = np.ascontiguousarray(value[:, -_SCALE_BYTES:, 0]).view("<f4")[:, 0]
        if not (np.isfinite(scales) & (scales > 0)).all():
            wrong.append(f"{key} has a scale that is no number above 0")
        elif (codes == _NO_CODE).any():
            wrong.append(f"{key} has the code {_NO_CODE}, expected -127 to 127")
        else:
            rows = codes * scales.astype(np.float32)[:, None]
            found[key] = rows if match[1] == "A" else np.ascontiguousarray(rows.T)
    if wrong:
        raise AdapterError(f"{where} cannot be used: {join_some(wrong)}; {EXPECTED}")
    return found


def _is_rows(value: Array) -> bool:
    shape = value.shape
    return value.dtype == np.int8 and len(shape) == 3 and shape[0] > 0 and shape[1] > _SCALE_BYTES and shape[2] == 1
