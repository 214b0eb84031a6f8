"""Grids of encoders: one file for training and export of a task, and texts that calibrate."""

import json
from pathlib import Path

import numpy as np
import pytest

import edgelora
from edgelora.artifact.options import ExportOptions
from edgelora.cli import main
from edgelora.torch_model.choose_grid import GridChoice
from edgelora_runtime import load
from edgelora_runtime.manifest import FEATURE_EXTRACTION, TEXT_CLASSIFICATION
from tests.parity.encoders import random_encoder, write_encoder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder without a head, which can be opened for every task."""
    return write_encoder(random_encoder("bert", FEATURE_EXTRACTION), tmp_path_factory.mktemp("base") / "tiny")


def test_a_grid_file_of_a_task_is_that_of_its_export(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "grid.safetensors")
    assert main(["quantize", str(bare), "-o", file, "--quant", "int8", "--task", "classification", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    options = ExportOptions(task="classification")
    exported = edgelora.export(bare, tmp_path / "artifact", options, grid=GridChoice(file))
    assert exported.manifest.base.grid == written["fingerprint"]
    assert exported.manifest.task == TEXT_CLASSIFICATION
    again = tmp_path / "grid.options.json"
    assert json.loads(again.read_text(encoding="utf-8"))["task"] == "classification"


def test_texts_calibrate_gptq(bare: Path, tmp_path: Path) -> None:
    rows = tmp_path / "pairs.jsonl"
    pairs = [{"anchor": "the a of", "positive": f"it was {word}"} for word in ("a", "in", "to")]
    rows.write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")
    choice = GridChoice("int4", method="gptq", calibration=rows)
    exported = edgelora.export(bare, tmp_path / "artifact", ExportOptions(task="embedding"), grid=choice)
    assert exported.manifest.quantization["method"] == "gptq"
    assert exported.manifest.quantization["calibration"] is not None
    with load(tmp_path / "artifact", task=FEATURE_EXTRACTION) as model:
        vectors = model.embed(["the a", "it was"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1) > 0, True)
