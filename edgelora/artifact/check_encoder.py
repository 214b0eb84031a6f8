"""Runs a new artifact without a KV cache once, so that none is handed out that its own runtime cannot load or run.

an artifact's folder -> nothing, or ArtifactError

Whether the answer is right is for ``verify``, which compares it with PyTorch's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgelora.artifact.check_answers import REFUSALS
from edgelora.artifact.encoder_answers import read_reference
from edgelora.artifact.exact_encoder import ExactEncoder
from edgelora.errors import ArtifactError
from edgelora_runtime import load
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.parse_json import one_line


def check_encoder(artifact: Path, name: str) -> None:
    """Load ``artifact``, which is to be called ``name``, and run it, without an adapter and through slots.

    Raises ArtifactError where it does not get through, or where what comes out are no numbers.
    """
    manifest = read_manifest(artifact)
    encoder = manifest.encoder
    assert encoder is not None
    try:
        load(artifact, operator=False).close()
        reference = read_reference(artifact, manifest, encoder)
        content = (artifact / manifest.graph.file).read_bytes()
        graph = ExactEncoder(content, artifact, manifest, encoder, reference.head)
        for rank in (0, 1) if manifest.slots else (0,):
            if not np.isfinite(graph.output(reference.inputs[0], rank)).all():
                raise ArtifactError(
                    f"{name} answers with numbers that are not finite; its weights or config are broken"
                )
    except REFUSALS as error:
        raise ArtifactError(
            f"onnxruntime does not run what was made of {name}: {one_line(error, named=False)}"
        ) from error
