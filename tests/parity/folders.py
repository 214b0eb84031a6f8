"""Writes models as the folders that people have, and holds what is exported of one to the model itself.

PyTorch's side is the model as it was before it was written: what the files say is read by one side alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.values import Checkpoint
from edgelora_onnx import OnnxExporter
from tests.parity.architectures import DIMS
from tests.parity.decoder import Decoder, no_adapter

IDS = np.random.default_rng(5).integers(0, DIMS["vocab_size"], 24)


def write(folder: Path, model: Any, spelling: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Checkpoint:
    """Save a model as a folder, its config changed by ``spelling``, and open it."""
    for settings in (model.config, model.generation_config):
        settings.eos_token_id, settings.bos_token_id, settings.pad_token_id = 2, 1, 0
    model.save_pretrained(folder)
    if spelling is not None:
        path = folder / "config.json"
        path.write_text(json.dumps(spelling(json.loads(path.read_text()))))
    return open_checkpoint(str(folder))


def transformers5(config: dict[str, Any]) -> dict[str, Any]:
    """The config as transformers 5 writes it: ``dtype``, ``rope_parameters``, neither theta nor scaling beside it."""
    config = dict(config)
    config["dtype"] = config.pop("torch_dtype", config.pop("dtype", None))
    config["transformers_version"] = "5.1.0"
    if config["model_type"] == "gpt2":
        return config
    theta, scaling = config.pop("rope_theta"), dict(config.pop("rope_scaling", None) or {"rope_type": "default"})
    if "type" in scaling:
        scaling["rope_type"] = scaling.pop("type")
    flat = {"rope_theta": theta, **scaling}
    for key in ("partial_rotary_factor", "original_max_position_embeddings"):
        if key in config:
            flat[key] = config.pop(key)
    if config["model_type"] == "gemma3_text":
        local = {"rope_type": "default", "rope_theta": config.pop("rope_local_base_freq")}
        flat = {"full_attention": flat, "sliding_attention": local}
    config["rope_parameters"] = flat
    return config


def check_logits(model: Any, checkpoint: Checkpoint, folder: Path, context: int | None = None) -> None:
    """The exported float32 graph equals ``model`` over a prompt and, token by token, what follows."""
    folder.mkdir()
    grid = plan_grid(checkpoint, parse_quant("none"))
    exported = OnnxExporter().export(grid, folder, accuracy_level=0, context_length=context)
    if model.config.model_type in ("gemma2", "gpt2"):
        model.set_attn_implementation("eager")  # the others leave softcaps and scales out without a word
    ids = IDS % model.config.vocab_size
    with torch.inference_mode():
        expected = model(torch.tensor(ids)[None]).logits[0].numpy()
    decoder = Decoder(folder, exported, no_adapter(exported))
    found = [decoder.step(ids[:16])] + [decoder.step(ids[i : i + 1]) for i in range(16, len(ids))]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-3, rtol=0)


def changed(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda config: {**config, **changes}
