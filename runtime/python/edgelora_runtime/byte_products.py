"""Whether products of bytes with signed weights overflow where onnxruntime runs: on x86 without VNNI they do.

() -> bool, computed once for a process
"""

from __future__ import annotations

import base64
import functools

import numpy as np
import onnxruntime as ort

# A MatMulInteger of a, uint8 (rows, k), and b, int8 (k, columns). The other runtimes hold the same bytes.
PRODUCT = base64.b64decode(
    "CAQ6PgoYCgFhCgFiEgF5Ig1NYXRNdWxJbnRlZ2VyEgFnWgkKAWESBAoCCAJaCQoBYhIECgIIA2IJCgF5EgQKAggGQgQKABAK"
)
_K, _COLUMNS = 4, 16


@functools.cache
def products_overflow() -> bool:
    """Whether the largest products do not come out as they are."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(PRODUCT, options, providers=["CPUExecutionProvider"])
    largest = {"a": np.full((1, _K), 255, np.uint8), "b": np.full((_K, _COLUMNS), 127, np.int8)}
    (found,) = session.run(None, largest)
    return not np.array_equal(found, np.full((1, _COLUMNS), 255 * 127 * _K))
