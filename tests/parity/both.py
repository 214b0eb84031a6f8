"""What PyTorch and an exported graph answer to the same tokens through the same random adapter.

Knows nothing about how near the two must be.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache

from edgelora.checkpoint.names import is_transposed
from edgelora.values import ExportedModel, FloatArray
from tests.parity.architectures import load_values
from tests.parity.decoder import Decoder, no_adapter, random_adapter


def answer_both(
    model: Any,
    exported: ExportedModel,
    folder: Path,
    shipped: Mapping[str, FloatArray],
    ids: npt.NDArray[np.int64],
    prefill: int,
    rank: int,
    cache: DynamicCache | None = None,
    library: Path | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Logits (len(ids), vocab_size) of PyTorch, the adapter merged into ``shipped``, and of the graph, beside it.

    The graph gets the first ``prefill`` tokens in one call, the others one by one; PyTorch gets all at once,
    over ``cache``. With a ``library`` of operators it is the fused graph, and ``rank`` 0.
    """
    adapter, deltas = random_adapter(exported, rank, seed=rank) if rank else (no_adapter(exported), {})
    values = dict(shipped)
    for module, delta in deltas.items():
        key = f"{module}.weight"
        values[key] = shipped[key] + (delta.T if is_transposed(key) else delta)
    load_values(model, values)
    with torch.inference_mode():
        expected: FloatArray = model(torch.tensor(ids)[None], past_key_values=cache).logits[0].numpy()
    decoder = Decoder(folder, exported, adapter, library)
    found = [decoder.step(ids[:prefill])] + [decoder.step(ids[i : i + 1]) for i in range(prefill, len(ids))]
    return expected, np.concatenate(found)
