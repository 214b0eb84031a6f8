"""A classifier's way from a folder to labels: export, verify, adapters with heads, a merged one."""

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import peft
import pytest
import torch

import edgelora
from edgelora.artifact.options import ExportOptions
from edgelora.cli import main
from edgelora.errors import AdapterError, ConfigError
from edgelora.torch_model.choose_grid import GridChoice
from edgelora_runtime import load
from edgelora_runtime.manifest import TEXT_CLASSIFICATION, read_manifest
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
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


@pytest.mark.parametrize(
    ("quant", "target"),
    [("none", "cpu"), ("fp16", "cpu"), ("int8", "cpu"), ("int4", "cpu"), ("int4", "web-wasm"), ("int4", "web-webgpu")],
)
def test_export_verify_and_classify(base: Path, adapter: Path, quant: str, target: str, tmp_path: Path) -> None:
    options = ExportOptions(adapters={"four": adapter}, target=target)
    result = edgelora.export(base, tmp_path / "artifact", options, grid=GridChoice(quant))
    assert result.manifest.task == TEXT_CLASSIFICATION
    assert result.manifest.encoder is not None
    assert result.manifest.encoder.base_head is not None
    report = edgelora.verify(tmp_path / "artifact")
    assert report.passed, report.checks
    assert {"output 0", "adapter four", "four again"} <= {check.name for check in report.checks}
    with load(tmp_path / "artifact", task=TEXT_CLASSIFICATION) as model:
        answers = model.classify(TEXTS, adapter=["four", "none", "four"])
    assert [len(answer.scores) for answer in answers] == [4, 3, 4]


def test_every_device_ships_one_grid_with_one_fingerprint(base: Path, tmp_path: Path) -> None:
    exported = [
        edgelora.export(base, tmp_path / target, ExportOptions(target=target))
        for target in ("cpu", "web-wasm", "mobile")
    ]
    assert len({item.manifest.base.grid for item in exported}) == 1


@pytest.mark.parametrize("quant", ["none", "int8"])
def test_onnxruntime_fuses_around_the_slots(base: Path, adapter: Path, quant: str, tmp_path: Path) -> None:
    """Attention is one node in the file; onnxruntime joins norms with sums, GELU with its bias, when it opens it."""
    artifact = tmp_path / "artifact"
    edgelora.export(base, artifact, ExportOptions(adapters={"four": adapter}), grid=GridChoice(quant))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(str(artifact / "encoder.onnx"), options, providers=["CPUExecutionProvider"])
    counts = Counter(node.op_type for node in ir.load(tmp_path / "optimized.onnx").graph)
    assert counts["MultiHeadAttention"] == 2
    assert counts["BiasGelu"] == 2
    assert counts["SkipLayerNormalization"] == 4  # two a layer
    assert counts["Softmax"] == counts["Erf"] == 0


@pytest.mark.parametrize(("target", "is_refused"), [("cpu", True), ("web-wasm", True), ("web-webgpu", False)])
def test_a_budget_of_bits_is_refused_where_rows_ship_in_8(
    base: Path, target: str, is_refused: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(base), "-o", str(tmp_path / "artifact"), "--budget-bits", "6", "--target", target]
    assert main(words) == (2 if is_refused else 0)
    if is_refused:
        assert f"--target {target} stores every linear in 8 bits (or floats) of text-class" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


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
    edgelora.export(base, tmp_path / "factored", ExportOptions(adapters={"four": adapter}), grid=GridChoice("none"))
    edgelora.export(base, tmp_path / "merged", ExportOptions(merge=adapter), grid=GridChoice("none"))
    manifest = read_manifest(tmp_path / "merged")
    assert manifest.slots == ()
    assert manifest.encoder is not None
    assert manifest.encoder.base_head is not None
    assert manifest.encoder.base_head.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert edgelora.verify(tmp_path / "merged").passed
    with load(tmp_path / "factored", task=TEXT_CLASSIFICATION) as model:
        expected = model.classify(TEXTS, adapter="four")
    with load(tmp_path / "merged", task=TEXT_CLASSIFICATION) as model:
        found = model.classify(TEXTS)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(list(one.scores.values()), list(other.scores.values()), atol=1e-5)


@pytest.mark.parametrize(("fields", "told"), [({"use_dora": True}, "uses DoRA"), ({"bias": "all"}, "uses bias 'all'")])
def test_what_is_merged_into_decoders_alone_is_refused_by_name(
    base: Path, adapter: Path, tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | fields))
    with pytest.raises(AdapterError, match=f"{told}, which is merged into models that write text alone"):
        edgelora.export(base, tmp_path / "artifact", ExportOptions(merge=folder), grid=GridChoice("none"))
    assert not (tmp_path / "artifact").exists()


def test_lora_on_a_linear_of_the_head_is_named_as_such(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    tensors = dict(read_safetensors(folder / "adapter_model.safetensors"))
    hidden = json.loads((base / "config.json").read_text())["hidden_size"]
    for side, shape in (("A", (3, hidden)), ("B", (hidden, 3))):
        tensors[f"base_model.model.bert.pooler.dense.lora_{side}.weight"] = np.ones(shape, np.float32)
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    with pytest.raises(AdapterError, match=r"bert\.pooler\.dense: it is of the head"):
        edgelora.export(base, tmp_path / "artifact", ExportOptions(merge=folder), grid=GridChoice("none"))


def test_what_only_decoders_have_is_refused(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--kv-cache int8: for models that write text"):
        edgelora.export(base, tmp_path / "artifact", ExportOptions(kv_cache="int8"))
    assert main(["export", str(base), "-o", str(tmp_path / "artifact"), "--task", "chatting"]) == 2
    assert "--task is 'chatting'; choose one of generation" in capsys.readouterr().err
    assert not (tmp_path / "artifact").exists()


def _hash(content: bytes) -> str:

    return hashlib.sha256(content).hexdigest()
