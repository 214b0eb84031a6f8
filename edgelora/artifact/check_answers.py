"""Asks a new artifact for one token, so that none is handed out that its own runtime cannot load or run.

an artifact's folder, token ids -> nothing, or ArtifactError

Whether the answer is right is for ``verify``, which compares it with PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgelora.artifact.exact import zero_factors
from edgelora.errors import ArtifactError
from edgelora.evaluation.timing import open_session
from edgelora_runtime.bound_adapter import bind
from edgelora_runtime.parse_json import one_line

REFUSALS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,  # what run_with_iobinding makes of each of these
)


def check_answers(artifact: Path, name: str, prompt: Sequence[int]) -> None:
    """Load ``artifact``, which is to be called ``name``, and run ``prompt`` and one token more, without an adapter and
    through slots.

    Raises ArtifactError where it does not get through, or where logits are no numbers.
    """
    session, manifest = open_session(artifact)
    ids = list(prompt)[: manifest.model.context_length - 1]
    for rank in (0, 1) if manifest.slots else (0,):  # with rank 0 the graph without slots runs, where there is one
        try:
            session.begin(1, bind(zero_factors(manifest.slots, rank)))
            logits = session.prefill(ids, [len(ids) - 1])
            last = session.decode(logits.argmax(axis=1), np.ones(1, np.bool_))
        except REFUSALS as error:
            raise ArtifactError(
                f"onnxruntime does not run what was made of {name}: {one_line(error, named=False)}"
            ) from error
        if not (np.isfinite(logits).all() and np.isfinite(last).all()):
            raise ArtifactError(f"{name} answers with numbers that are not finite; its weights or config are broken")
