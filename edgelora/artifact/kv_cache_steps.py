"""How wide the numbers of a KV cache are: an exported model reads prompts, with and without adapters, and is watched.

artifact, prompts, adapters -> steps of an 8-bit cache

It runs the artifact as a device would, with the cache still in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgelora.errors import ConfigError
from edgelora.evaluation.timing import open_session
from edgelora.values import FloatArray
from edgelora_runtime.adapter_set import AdapterSet
from edgelora_runtime.names import NO_ADAPTER

_LARGEST_CODE = 127
# Other text and other adapters reach further than what was seen: twice as far at the 99th percentile of channels
# (docs/log.md, 2026-11-24). A step twice as wide costs one of eight bits; a number cut off costs more.
_HEADROOM = 2.0
_LEAST_SHARE = 0.1  # of the median channel: one that was silent here may speak elsewhere
_STRANGE_TOKENS = 256  # pseudo-random ids, which drive channels that ordinary text leaves quiet


def cache_scales(artifact: Path, prompts: Sequence[Sequence[int]], adapters: Mapping[str, Path]) -> FloatArray:
    """Steps (2 * num_layers, num_kv_heads, head_dim) of an 8-bit cache: key and value of each layer in turn.

    ``artifact`` has a float32 cache. It reads ``prompts`` and pseudo-random ids, without an adapter and with each of
    ``adapters``. Raises AdapterError for one that does not fit, ConfigError when something seen is no number.
    """
    session, manifest = open_session(artifact)
    known = AdapterSet(artifact, manifest, session.packer)
    for name, folder in adapters.items():
        known.load(name, folder)
    limit = manifest.model.context_length
    strange = np.random.default_rng(11).integers(0, manifest.model.vocab_size, min(_STRANGE_TOKENS, limit)).tolist()
    largest = np.zeros(
        (2 * manifest.model.num_layers, manifest.model.num_kv_heads, manifest.model.head_dim), np.float32
    )
    for name in (NO_ADAPTER, *adapters):
        for ids in (*prompts, strange):
            session.begin(1, known.find(name))
            session.prefill(ids[:limit], [0])
            np.maximum(largest, np.abs(session.cached()).max(axis=2), out=largest)
    if not np.isfinite(largest).all():
        raise ConfigError(f"{manifest.model.name}: keys or values are not finite; an 8-bit cache cannot hold them")
    least = _LEAST_SHARE * np.median(largest, axis=(1, 2), keepdims=True)
    scales: FloatArray = _HEADROOM * np.maximum(largest, np.maximum(least, np.float32(1e-6))) / _LARGEST_CODE
    return scales.astype(np.float32)
