"""Random adapters of any rank for whatever slots an artifact has.

Knows nothing about what an adapter says; only its size matters for speed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgelora_runtime.manifest import Manifest
from edgelora_runtime.safetensors import write_safetensors


def write_random_adapter(
    manifest: Manifest,
    rank: int,
    folder: Path,
    *,
    seed: int | None = None,
    scale: float = 0.01,
    share_a: bool = False,
    n_labels: int = 0,
    invocation: Sequence[int] = (),
) -> Path:
    """A PEFT folder that adapts every module of every slot; ``scale`` is the factors' standard deviation.

    With ``share_a`` the modules of a slot have one A, as `edgelora train --share-a` makes them. Of an encoder it has a
    head of ``n_labels`` as well. With an ``invocation``, token ids, it is an activated one.
    """
    rng = np.random.default_rng(rank if seed is None else seed)
    tensors = {}
    for slot in manifest.slots:
        a = None
        for part in slot.parts:
            name = f"base_model.model.{part.module}"
            if a is None or not share_a:
                a = rng.standard_normal((rank, slot.in_features)) * scale
            b = rng.standard_normal((part.out_features, rank)) * scale
            tensors[f"{name}.lora_A.weight"] = a.astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = b.astype(np.float32)
    heads = manifest.encoder.head if manifest.encoder is not None else ()
    for head in heads:
        values = 0.1 * rng.standard_normal([size or n_labels for size in head.sizes])
        tensors[f"base_model.model.{head.tensor}"] = values.astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    modules = sorted({part.module.rsplit(".", 1)[1] for slot in manifest.slots for part in slot.parts})
    saved = sorted({head.tensor.rpartition(".")[0] for head in heads})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": modules, "bias": "none"}
    config |= {"modules_to_save": saved} if saved else {}
    config |= {"alora_invocation_tokens": list(invocation)} if invocation else {}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    return folder
