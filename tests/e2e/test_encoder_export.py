"""A classifier's way from a folder to labels: export, verify, adapters with heads, a merged one."""

import hashlib
import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch

import edgelora
from edgelora.artifact.options import ExportOptions
from edgelora.cli import main
from edgelora.errors import ConfigError
from edgelora.torch_model.choose_grid import GridChoice
from edgelora_runtime import load
from edgelora_runtime.manifest import TEXT_CLASSIFICATION, read_manifest
from tests.parity.encoders import random_encoder, write_encoder

TEXTS = ["the a of to in it", "was it", ""]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(random_encoder("bert", TEXT_CLASSIFICATION), tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What PEFT writes of a classifier with four labels."""
    model = random_encoder("bert", TEXT_CLASSIFICATION, labels=4)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=3, target_modules=["query", "value"], init_lora_weights=False)
    wrapped = peft.get_peft_model(model, config)
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "modules_to_save" in name:
                parameter.normal_(0, 0.3)
    folder = tmp_path_factory.mktemp("adapter") / "four"
    wrapped.save_pretrained(str(folder))
    return folder


def test_a_graph_that_is_another_fails_verify(base: Path, tmp_path: Path) -> None:
    edgelora.export(base, tmp_path / "artifact", grid=GridChoice("int8"))
    data = json.loads((tmp_path / "artifact/manifest.json").read_text(encoding="utf-8"))
    weights = tmp_path / "artifact" / data["graph"]["weights"]
    content = bytearray(weights.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    weights.write_bytes(content)
    data["files"][data["graph"]["weights"]] |= {"sha256": _hash(bytes(content))}
    (tmp_path / "artifact/manifest.json").write_text(json.dumps(data), encoding="utf-8")
    report = edgelora.verify(tmp_path / "artifact")
    assert not report.passed
    assert any(check.name.startswith("output") and not check.passed for check in report.checks)


def test_a_merged_classifier_answers_like_the_adapter(base: Path, adapter: Path, tmp_path: Path) -> None:
    edgelora.export(base, tmp_path / "factored", grid=GridChoice("none"))
    edgelora.export(base, tmp_path / "merged", ExportOptions(merge=adapter), grid=GridChoice("none"))
    manifest = read_manifest(tmp_path / "merged")
    assert manifest.slots == ()
    assert manifest.encoder is not None
    assert manifest.encoder.base_head is not None
    assert manifest.encoder.base_head.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert edgelora.verify(tmp_path / "merged").passed
    with load(tmp_path / "factored", task=TEXT_CLASSIFICATION) as model:
        model.load_adapter("four", adapter)
        expected = model.classify(TEXTS, adapter="four")
    with load(tmp_path / "merged", task=TEXT_CLASSIFICATION) as model:
        found = model.classify(TEXTS)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(list(one.scores.values()), list(other.scores.values()), atol=1e-5)


def test_what_only_decoders_have_is_refused(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--kv-cache int8: for models that write text"):
        edgelora.export(base, tmp_path / "artifact", ExportOptions(kv_cache="int8"))
    assert main(["export", str(base), "-o", str(tmp_path / "artifact"), "--task", "chatting"]) == 2
    assert "--task is 'chatting'; choose one of generation" in capsys.readouterr().err
    assert not (tmp_path / "artifact").exists()


def _hash(content: bytes) -> str:

    return hashlib.sha256(content).hexdigest()
