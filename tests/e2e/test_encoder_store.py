"""Classifiers through the whole way: exported, adapters of PEFT with heads put in, rounded, fused, run, refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification

import edgelora
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.store import add_adapter, remove_adapter
from edgelora.errors import AdapterError
from edgelora.torch_model.choose_grid import GridChoice
from edgelora_runtime import EncoderModel, load
from edgelora_runtime.manifest import MULTI_LABEL, TEXT_CLASSIFICATION, HeadInfo, read_manifest
from edgelora_runtime.receipt import Answer, Receipt, read_receipt, write_receipt
from tests.operator_library import operator_library
from tests.parity.encoders import random_encoder, write_encoder

ROWS = [[1, 5, 9, 30, 2], [1, 2], [1, *range(4, 30), 2]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(random_encoder("bert", TEXT_CLASSIFICATION), tmp_path_factory.mktemp("base") / "bert")


@pytest.fixture(scope="module")
def exported(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "artifact"
    edgelora.export(base, out, ExportOptions(accuracy_level=0), grid=GridChoice("none"))
    return out


@pytest.fixture
def artifact(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "artifact"))


def write_peft(base: Path, folder: Path, labels: int, rank: int = 4, seed: int = 0) -> Path:
    """As PEFT saves a classifier's adapter, every number of it random."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels, ignore_mismatched_sizes=True)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=rank, lora_alpha=8, target_modules=["query", "value", "dense"],
                        exclude_modules=["bert.pooler.dense"])  # fmt: skip
    wrapped = get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    wrapped.save_pretrained(folder)
    return folder


def torch_answers(base: Path, folder: Path, labels: int) -> list[np.ndarray]:
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=labels, ignore_mismatched_sizes=True
    )
    wrapped = PeftModel.from_pretrained(model, str(folder)).eval()
    with torch.no_grad():
        return [wrapped(input_ids=torch.tensor([row])).logits[0].numpy() for row in ROWS]


def open_encoder(artifact: Path, **options: Any) -> EncoderModel:
    return load(artifact, threads=1, task=TEXT_CLASSIFICATION, **options)


@pytest.mark.parametrize("operator", [False, True])
def test_adapters_of_peft_answer_as_in_torch(artifact: Path, base: Path, tmp_path: Path, operator: bool) -> None:
    expected = {}
    for seed, (name, labels) in enumerate({"two": 2, "many": 77, "one": 1}.items()):
        folder = write_peft(base, tmp_path / name, labels, rank=(1, 64, 4)[seed], seed=seed)
        info = add_adapter(artifact, name, folder)
        assert info.head is not None and len(info.head.labels) == labels
        expected[name] = torch_answers(base, folder, labels)
    model = open_encoder(artifact, operator=operator_library() if operator else False)
    assert model.adapters == ("two", "many", "one")
    for name, answers in expected.items():
        for found, answer in zip(model.outputs(ROWS, adapter=name), answers, strict=True):
            np.testing.assert_allclose(found, answer, atol=1e-4)
    mixed = model.outputs(ROWS, adapter=["many", "one", "two"])
    for index, (name, found) in enumerate(zip(["many", "one", "two"], mixed, strict=True)):
        np.testing.assert_allclose(found, expected[name][index], atol=1e-4)


def test_labels_go_into_the_manifest_and_are_checked_again(artifact: Path, base: Path, tmp_path: Path) -> None:
    folder = write_peft(base, tmp_path / "flags", 3)
    info = add_adapter(artifact, "given", folder, labels=["a", "b", "c"])
    assert info.head == HeadInfo(("a", "b", "c"))
    (folder / "config.json").write_text(
        json.dumps({"id2label": {"0": "x", "1": "y", "2": "z"}, "problem_type": MULTI_LABEL})
    )
    assert add_adapter(artifact, "beside", folder).head == HeadInfo(("x", "y", "z"), MULTI_LABEL)
    assert not (artifact / "adapters/beside/config.json").exists()
    model = open_encoder(artifact)
    assert set(model.classify("the a of", adapter="beside").scores) == {"x", "y", "z"}
    with pytest.raises(AdapterError, match=r"its head answers for 3 labels, but labels has 2 \('a', 'b'\)"):
        add_adapter(artifact, "few", folder, labels=["a", "b"])
    remove_adapter(artifact, "given")
    assert [item.name for item in read_manifest(artifact).adapters] == ["beside"]


@pytest.mark.parametrize("store", ["float16", "int8"])
def test_rounding_leaves_the_head_and_measures_the_answers_again(
    artifact: Path, base: Path, tmp_path: Path, store: str
) -> None:
    folder, manifest = write_peft(base, tmp_path / "flags", 3), read_manifest(artifact)
    model = open_encoder(artifact)
    model.load_adapter("flags", folder)
    outputs, bases = (model.outputs(ROWS, adapter=spec) for spec in ("flags", "flags:0"))
    answers = tuple(
        Answer(tuple(row), tuple(map(float, output)), tuple(map(float, alone)))
        for row, output, alone in zip(ROWS, outputs, bases, strict=True)
    )
    head = HeadInfo(("a", "b", "c"), temperature=2.0)
    write_receipt(folder, Receipt("bert", manifest.base.fingerprint, head=head, answers=answers))
    assert add_adapter(artifact, "flags", folder, store=store).head == head
    rounded = open_encoder(artifact, probe=True)
    own = read_receipt(artifact / "adapters/flags")
    assert own is not None
    for found, answer, alone in zip(rounded.outputs(ROWS, adapter="flags"), own.answers, bases, strict=True):
        np.testing.assert_allclose(found, answer.output, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(alone, answer.base, rtol=1e-5, atol=1e-6)
    assert (own.answers[0].output != answers[0].output) == (store == "int8") or store == "float16"
    wrong = Answer(tuple(ROWS[0]), tuple(-number for number in answers[0].output), answers[0].base)
    write_receipt(folder, Receipt("bert", manifest.base.fingerprint, head=head, answers=(wrong,)))
    with pytest.raises(AdapterError, match="it does not do what its receipt says"):
        add_adapter(artifact, "other", folder)
    assert not (artifact / "adapters/other").exists()
    assert add_adapter(artifact, "other", folder, probe=False).name == "other"
