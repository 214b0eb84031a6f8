"""Holds a base model to its layers: all of them are there, and have the same tensors.

Checkpoint -> nothing, or CheckpointError
"""

from __future__ import annotations

import re

from edgelora.checkpoint.names import is_embedding
from edgelora.errors import CheckpointError
from edgelora.values import Checkpoint
from edgelora_runtime.manifest import IMAGE_CLASSIFICATION
from edgelora_runtime.parse_json import show

_LAYER = re.compile(r"^((?:.*?\.)?(?:layers|layer|h))\.([0-9]{1,9})\.(.+)$")
_FIRST_LACKS = ("attn_norm.weight", "attn_norm.bias")  # modernbert norms what it embeds instead
_DECODERS = {  # a tensor of the layers -> embedding and last norm that must be there too
    "model.layers.": ("model.embed_tokens.weight", "model.norm.weight"),
    "transformer.h.": ("transformer.wte.weight", "transformer.ln_f.weight"),
}


def check_complete(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError where a layer, a tensor of one, the embedding or the last norm is not there."""
    names = frozenset(checkpoint.names())
    layers: dict[str, dict[int, set[str]]] = {}
    for name in names:
        if match := _LAYER.match(name):
            layers.setdefault(match[1], {}).setdefault(int(match[2]), set()).add(match[3])
    missing: list[str] = []
    config = checkpoint.config
    count = next((config[key] for key in ("num_hidden_layers", "n_layer", "n_layers") if key in config), None)
    if isinstance(count, int) and count > len(names):
        raise CheckpointError(
            f"{checkpoint.name} has {len(names)} tensors, but its config names {show(count)} layers; download it again"
        )
    for stem, by_index in layers.items():
        if max(by_index) > len(names):
            raise CheckpointError(
                f"{checkpoint.name} has a layer {max(by_index)}, but {len(names)} tensors in all; download it again"
            )
        everywhere = set().union(*by_index.values())
        expected = range(count if isinstance(count, int) else max(by_index) + 1)
        if surplus := sorted(set(by_index) - set(expected)):
            raise CheckpointError(f"{checkpoint.name} has layer {surplus[0]}, but its config names {count} layers")
        lost = [(i, part) for i in expected for part in sorted(everywhere - by_index.get(i, set()))]
        missing += [
            f"{stem}.{i}.{part}"
            for i, part in lost
            if not (i == 0 and part in _FIRST_LACKS and config.get("model_type") == "modernbert")
        ]
    if not checkpoint.task.generates and checkpoint.task.name != IMAGE_CLASSIFICATION:
        missing += [] if any(map(is_embedding, names)) else ["the embedding"]
    for start, required in () if config.get("model_type") == "modernbert" else _DECODERS.items():
        if any(name.startswith(start) for name in names):
            missing += [name for name in required if name not in names]
    if missing:
        raise CheckpointError(
            f"{checkpoint.name} lacks {len(missing)} tensors ({', '.join(missing[:3])}); download the weights again"
        )
