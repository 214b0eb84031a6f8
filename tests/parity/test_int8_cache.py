"""A KV cache of 8 bits: every architecture's graph equals PyTorch whose keys and values are rounded alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from edgelora.grid.make import parse_quant, plan_grid
from edgelora.values import FloatArray
from edgelora_onnx import OnnxExporter
from tests.parity.architectures import MODELS, checkpoint_of, random_model
from tests.parity.both import answer_both
from tests.rounding_cache import RoundingCache, steps_of

PREFILL, DECODE = 12, 8


def _scales(model: torch.nn.Module, vocab_size: int) -> FloatArray:
    """(2 * num_layers, num_kv_heads, head_dim) from what the float model keeps of other tokens."""
    cache = DynamicCache()
    ids = np.random.default_rng(5).integers(0, vocab_size, (1, 40))
    with torch.inference_mode():
        model(torch.tensor(ids), past_key_values=cache)
    largest = [part[0].abs().amax(1).numpy() for layer in cache.layers for part in (layer.keys, layer.values)]
    scales: FloatArray = np.stack(largest) * np.float32(1.5 / 127)
    return scales


@pytest.mark.parametrize("name", sorted(MODELS))
def test_graph_equals_torch(name: str, tmp_path: Path) -> None:
    model = random_model(name)
    checkpoint = checkpoint_of(model, name)
    grid = plan_grid(checkpoint, parse_quant("none"))
    exporter = OnnxExporter()
    exported = exporter.export(grid, tmp_path, accuracy_level=0)
    exported = exporter.quantize_cache(tmp_path, exported, _scales(model, exported.vocab_size))
    shipped = {key: grid.value(key) for key in checkpoint.names()}
    ids = np.random.default_rng(1).integers(0, exported.vocab_size, PREFILL + DECODE)
    for rank in (0, 8):
        cache = RoundingCache(steps_of(tmp_path / exported.graph_file))
        expected, found = answer_both(model, exported, tmp_path, shipped, ids, PREFILL, rank, cache)
        off = np.abs(found - expected).max(axis=1)  # (n_tokens,)
        # A number at the edge of a step may fall to the other side, which the tokens after it see.
        assert np.median(off) < 1e-3
        assert off.max() < 0.02 * float(np.abs(expected).max())
        exact, _ = answer_both(model, exported, tmp_path, shipped, ids, PREFILL, rank)
        assert np.abs(exact - expected).max() > 10 * np.median(off), "rounding that changes nothing would prove nothing"
