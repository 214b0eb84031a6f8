"""Every architecture the other way round: tied where it mostly is not and untied where it mostly is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora_onnx import OnnxExporter
from tests.parity.architectures import MODELS, random_model
from tests.parity.both import answer_both


@pytest.mark.parametrize("name", sorted(MODELS))
def test_graph_equals_torch_with_the_other_head(name: str, tmp_path: Path) -> None:
    usual = random_model(name)
    config = usual.config
    config.tie_word_embeddings = not config.tie_word_embeddings
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 1, 2, 0
    model = type(usual)(config).eval()
    model.load_state_dict(usual.state_dict())
    if not config.tie_word_embeddings:
        torch.manual_seed(1)
        torch.nn.init.normal_(model.get_output_embeddings().weight, 0, 0.08)
    model.tie_weights()
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "artifact").mkdir()
    checkpoint = open_checkpoint(str(tmp_path / "model"))
    assert ("lm_head.weight" in checkpoint.names()) is not config.tie_word_embeddings
    grid = plan_grid(checkpoint, parse_quant("int4"))
    exported = OnnxExporter().export(grid, tmp_path / "artifact", accuracy_level=0)
    shipped = {key: grid.value(key) for key in checkpoint.names()}
    ids = np.random.default_rng(1).integers(0, exported.vocab_size, 16)
    expected, found = answer_both(model, exported, tmp_path / "artifact", shipped, ids, 12, 0)
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)
