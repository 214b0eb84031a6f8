"""The genai twin answers like the decoder, base and adapter alike, through onnxruntime's own LoraAdapter."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from edgelora.adapter.genai import write_genai_adapter
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.values import ExportedModel
from edgelora_onnx import OnnxExporter
from edgelora_onnx.passes.genai_twin import ON_THE_LEFT
from edgelora_runtime.adapter import Factors
from tests.parity.architectures import checkpoint_of, random_model
from tests.parity.decoder import Decoder, no_adapter, random_adapter


@pytest.mark.parametrize(("quant", "level"), [("int4", 0), ("int4", 4), ("int2", 0), ("int8", 0), ("fp16", 0)])
def test_twin_equals_the_decoder_with_and_without_an_adapter(quant: str, level: int, tmp_path: Path) -> None:
    exporter = OnnxExporter()
    grid = plan_grid(checkpoint_of(random_model("llama"), "llama"), parse_quant(quant))
    exported = exporter.export(grid, tmp_path, level)
    weights = (tmp_path / exported.weights_file).read_bytes()
    exporter.add_genai(tmp_path, exported, grid)
    assert (tmp_path / exported.weights_file).read_bytes() == weights
    assert {path.name for path in tmp_path.iterdir()} == {
        "decoder.onnx",
        "weights.bin",
        "decoder.genai.onnx",
        "genai_config.json",
        "config.json",
        "generation_config.json",
        "decoder.plain.onnx",
    }
    packed, _ = random_adapter(exported, rank=3, seed=5)
    write_genai_adapter(tmp_path / "a.onnx_adapter", packed)
    adapter = ort.LoraAdapter()
    adapter.Load(str(tmp_path / "a.onnx_adapter"))

    session, feeds = _open(tmp_path, exported)
    ids = feeds["input_ids"]
    active = ort.RunOptions()
    active.add_active_adapter(adapter)
    base, adapted = session.run(["logits"], feeds)[0], session.run(["logits"], feeds, active)[0]
    assert base.shape == (1, 1, exported.vocab_size)
    np.testing.assert_allclose(
        base[0, 0], Decoder(tmp_path, exported, no_adapter(exported)).step(ids[0])[-1], atol=1e-4
    )
    np.testing.assert_allclose(adapted[0, 0], Decoder(tmp_path, exported, packed).step(ids[0])[-1], atol=1e-4)
    assert np.abs(base - adapted).max() > 1e-2

    assert all(value.shape[0] == "batch_size" for value in session.get_inputs())
    padded = np.ones_like(ids)
    padded[0, -2:] = 0
    whole = session.run(["logits"], {**feeds, "input_ids": ids[:, :-2], "attention_mask": padded[:, :-2]})[0]
    np.testing.assert_allclose(session.run(["logits"], {**feeds, "attention_mask": padded})[0], whole, atol=1e-4)
    with pytest.raises(InvalidArgument, match=ON_THE_LEFT):
        session.run(["logits"], {**feeds, "attention_mask": padded[:, ::-1].copy()})


def test_twin_of_a_graph_with_a_built_in_adapter(tmp_path: Path) -> None:
    grid = plan_grid(checkpoint_of(random_model("llama"), "llama"), parse_quant("int4"))
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 96)).astype(np.float32), rng.standard_normal((96, 2)).astype(np.float32)
    factors = {"model.layers.0.self_attn.o_proj": Factors(a, b, 0.5)}
    exported = OnnxExporter().export(grid, tmp_path, 0, slots=(), baked=factors)
    OnnxExporter().add_genai(tmp_path, exported, grid)
    session, feeds = _open(tmp_path, exported)
    np.testing.assert_allclose(
        session.run(["logits"], feeds)[0][0, 0],
        Decoder(tmp_path, exported, {}).step(feeds["input_ids"][0])[-1],
        atol=1e-4,
    )


def _open(folder: Path, exported: ExportedModel) -> tuple[ort.InferenceSession, dict[str, np.ndarray]]:
    """The twin, and inputs for nine tokens with an empty cache."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(folder / "decoder.genai.onnx", options, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(0, exported.vocab_size, (1, 9))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    for value in session.get_inputs():
        if value.name.startswith("past"):
            feeds[value.name] = np.zeros((1, exported.num_kv_heads, 0, exported.head_dim), np.float32)
    assert {value.name for value in session.get_inputs()} == set(feeds)
    return session, feeds
