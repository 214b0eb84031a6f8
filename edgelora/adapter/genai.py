"""Writes an adapter as ``.onnx_adapter``, the form that onnxruntime-genai and the ``LoraAdapter`` bindings load.

packed factors by slot input -> a file

The parameter names are the slot inputs of the artifact.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edgelora.errors import AdapterError
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Adapter

GENAI_CONFIG_FILE = "genai_config.json"
GENAI_ADAPTER_FILE = "adapter.onnx_adapter"


def check_genai(folder: Path, adapter: Adapter) -> None:
    """Raise AdapterError for an adapter in ``folder`` that would answer otherwise there."""
    if adapter.invocation:
        raise AdapterError(
            f"{folder} is an activated adapter (alora_invocation_tokens), and onnxruntime-genai would let it act on "
            "every token; export without --genai"
        )


def write_genai_adapter(path: Path, packed: Mapping[str, FloatArray]) -> None:
    """Write packed slot inputs, then read the file back: the format keeps no reference to what it was given."""
    values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in packed.items()}
    content = ort.AdapterFormat()
    content.set_adapter_version(1)
    content.set_model_version(1)
    content.set_parameters(values)  # holds raw pointers: `values` and `packed` must outlive the export
    try:
        content.export_adapter(str(path))
        found = ort.AdapterFormat.read_adapter(str(path)).get_parameters()
    except RuntimeError as error:  # all that it says of a full disk
        raise OSError(errno.ENOSPC, "it was not written whole; free some space and run it again", str(path)) from error
    wrong = [name for name, array in packed.items() if not np.array_equal(found[name].numpy(), array)]
    if wrong:
        raise AdapterError(f"{path}: {len(wrong)} of {len(packed)} parameters were written wrong, first {wrong[0]}")
