"""DoRA of a classifier, its head with it, through the whole way: converted, run beside a plain adapter, fused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification

import edgelora
from edgelora.artifact.options import ExportOptions
from edgelora.errors import AdapterError
from edgelora.torch_model.choose_grid import GridChoice
from edgelora_runtime.manifest import TEXT_CLASSIFICATION, read_manifest
from tests.e2e.test_encoder_store import ROWS, open_encoder, torch_answers, write_peft
from tests.operator_library import operator_library
from tests.parity.encoders import random_encoder, write_encoder


def write_dora(base: Path, folder: Path, labels: int) -> Path:
    torch.manual_seed(7)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels, ignore_mismatched_sizes=True)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=3, lora_alpha=8, target_modules=["query", "key", "dense"],
                        exclude_modules=["bert.pooler.dense"], use_dora=True)  # fmt: skip
    wrapped = get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if "lora_magnitude_vector" in name:
            parameter.data.mul_(torch.empty_like(parameter).uniform_(0.5, 1.7))
        elif "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(random_encoder("bert", TEXT_CLASSIFICATION), tmp_path_factory.mktemp("base") / "bert")


@pytest.mark.parametrize("fused", [False, True])
def test_it_answers_as_in_torch_in_a_batch_with_others(base: Path, tmp_path: Path, fused: bool) -> None:
    dora, plain = write_dora(base, tmp_path / "dora", 4), write_peft(base, tmp_path / "plain", 2)
    options = ExportOptions(accuracy_level=0, adapters={"dora": dora, "plain": plain})
    edgelora.export(base, tmp_path / "out", options, grid=GridChoice("none"))
    expected = {"dora": torch_answers(base, dora, 4), "plain": torch_answers(base, plain, 2)}
    assert all(slot.gain is not None for slot in read_manifest(tmp_path / "out").slots)
    model = open_encoder(tmp_path / "out", operator=operator_library() if fused else False)
    for name, answers in expected.items():
        for found, answer in zip(model.outputs(ROWS, adapter=name), answers, strict=True):
            np.testing.assert_allclose(found, answer, atol=1e-4)
    names = ["plain", "dora", "dora"]
    for index, (name, found) in enumerate(zip(names, model.outputs(ROWS, adapter=names), strict=True)):
        np.testing.assert_allclose(found, expected[name][index], atol=1e-4)


def test_products_of_bytes_take_gains_in_both_graphs(base: Path, tmp_path: Path) -> None:
    dora = write_dora(base, tmp_path / "dora", 4)
    edgelora.export(base, tmp_path / "out", ExportOptions(adapters={"dora": dora}), grid=GridChoice("int8"))
    slots, fused = (open_encoder(tmp_path / "out", operator=given) for given in (False, operator_library()))
    near = torch_answers(base, dora, 4)
    for one, other, answer in zip(
        slots.outputs(ROWS, adapter="dora"), fused.outputs(ROWS, adapter="dora"), near, strict=True
    ):
        np.testing.assert_allclose(one, other, atol=2e-2)
        np.testing.assert_allclose(one, answer, atol=0.3)  # activations and weights of 8 bits


def test_an_artifact_without_a_place_refuses_it(base: Path, tmp_path: Path) -> None:
    dora = write_dora(base, tmp_path / "dora", 4)
    edgelora.export(base, tmp_path / "out", ExportOptions(accuracy_level=0), grid=GridChoice("none"))
    with pytest.raises(AdapterError, match="have no place for its gains; export it again with --dora"):
        edgelora.add_adapter(tmp_path / "out", "dora", dora)
