"""Training classifiers, taggers and embedders: what PEFT loads answers as the receipt says, and bad input is named."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.numpy import load_file, save_file

from edgelora import GridChoice, RecoverOptions, TrainOptions, recover, train
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.names import is_head
from edgelora.checkpoint.task import TASK_WORDS, with_head
from edgelora.cli import main
from edgelora.errors import AdapterError, CheckpointError, ConfigError, DataError, EdgeLoraError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.progress import Silent, StepReport
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.task_model import answer
from edgelora.training.finish_receipt import make_receipt
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.manifest import MULTI_LABEL, SINGLE_LABEL
from edgelora_runtime.receipt import Receipt, read_receipt
from tests.parity.architectures import MODELS
from tests.parity.encoders import CLASSES, CONFIGS, random_encoder, write_encoder, write_tokenizer

_WORDS = ["the", "a", "of", "to", "in", "it", "is", "was", "for", "on", "as", "with", "he", "be", "at", "by"]
_INT8 = GridChoice("int8", block_size=16)
_OPTIONS = TrainOptions(rank=4, learning_rate=5e-3, max_steps=6, batch_size=8, warmup=0, save_every=0)


def _sentences(count: int, seed: int = 0) -> Iterator[list[str]]:
    drawn = random.Random(seed)
    for _ in range(count):
        yield [drawn.choice(_WORDS) for _ in range(drawn.randint(3, 9))]


def _rows(kind: str, count: int = 40, seed: int = 0) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for words in _sentences(count, seed):
        text = " ".join(words)
        if kind == "classification":
            rows.append({"text": text, "label": "with" if "the" in words else "without"})
        elif kind == "several":
            rows.append({"text": text, "labels": [label for label in ("the", "of", "a") if label in words]})
        elif kind == "tagging":
            rows.append({"tokens": words, "tags": ["B-ART" if word in ("the", "a") else "O" for word in words]})
        else:
            negative = {"negative": "he was at it"} if len(rows) % 2 else {}
            rows.append({"anchor": text, "positive": " ".join(sorted(words)), **negative})
    return rows


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _base(name: str, folder: Path) -> Path:
    """A base without a head of any task; wide enough that its vectors are not all alike."""
    if name in MODELS:
        torch.manual_seed(0)
        MODELS[name]().save_pretrained(folder)
        write_tokenizer(folder)
        return folder
    return write_encoder(random_encoder(name, TASK_WORDS["embedding"]), folder)


def _receipt(folder: Path) -> Receipt:
    receipt = read_receipt(folder)
    assert receipt is not None
    return receipt


def test_a_head_learns_at_a_rate_of_its_own(tmp_path: Path) -> None:
    """AdamW's first step moves every number by its rate, whatever the gradient: the rates can be read off."""
    base, rows = _base("bert", tmp_path / "base"), _write(tmp_path / "rows.jsonl", _rows("classification"))
    options = dataclasses.replace(_OPTIONS, task="classification", learning_rate=1e-3)
    heads = {}
    for name, own in (("none", 1e-12), ("same", 1e-3), ("default", None)):
        changed = dataclasses.replace(options, head_learning_rate=own, max_steps=1)
        train(base, rows, tmp_path / name, changed, grid=_INT8)
        tensors = load_file(tmp_path / name / "adapter_model.safetensors")
        heads[name] = next(value for key, value in tensors.items() if key.endswith("classifier.weight"))
    assert np.abs(heads["same"] - heads["none"]).max() == pytest.approx(1e-3, rel=0.01)
    assert np.abs(heads["default"] - heads["none"]).max() == pytest.approx(1e-2, rel=0.01)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bert", "classification"),
        ("bert", "several"),
        ("bert", "tagging"),
        ("bert", "embedding"),
        ("deberta-v3", "classification"),
        ("distilbert", "classification"),
        ("modernbert", "classification"),
        ("roberta", "classification"),
        ("llama", "classification"),
        ("qwen3", "embedding"),
    ],
)
def test_what_peft_loads_answers_as_the_receipt_says(name: str, kind: str, tmp_path: Path) -> None:
    word = "classification" if kind == "several" else kind
    base = _base(name, tmp_path / "base")
    rows = _write(tmp_path / "rows.jsonl", _rows(kind))
    train(base, rows, tmp_path / "out", dataclasses.replace(_OPTIONS, task=word), grid=_INT8)
    receipt = _receipt(tmp_path / "out")
    head = receipt.head
    checkpoint = open_checkpoint(str(base), TASK_WORDS[word])
    if head is not None:
        expected = {"classification": ("with", "without"), "several": ("a", "of", "the"), "tagging": ("B-ART", "O")}
        assert head.labels == expected[kind]
        assert head.problem_type == (MULTI_LABEL if kind == "several" else SINGLE_LABEL)
        checkpoint = with_head(checkpoint, head)
    else:
        assert kind == "embedding"
    assert not receipt.probes
    assert [item.text is None for item in receipt.answers] == [False, False, True]
    grid = plan_grid(checkpoint, parse_quant("int8", 16))
    assert (receipt.fingerprint, receipt.grid) == (grid.base_fingerprint, grid.fingerprint)
    model = load_torch(checkpoint, grid)
    wrapped = peft.PeftModel.from_pretrained(model, str(tmp_path / "out")).eval()
    for item in receipt.answers:
        ids = torch.tensor([item.input_ids])
        with torch.no_grad():
            if kind == "embedding":
                found = answer(model, checkpoint.task, ids, torch.ones_like(ids))
            else:
                found = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        np.testing.assert_allclose(found.flatten().numpy(), item.output, rtol=0, atol=1e-4)
        assert item.output != item.base
    adapter = read_adapter(tmp_path / "out", with_head=True)
    parameters = (key.replace(".modules_to_save.default", "") for key, _ in model.named_parameters())
    heads = {key for key in parameters if is_head(key) and "original_module" not in key}
    assert set(adapter.head) == heads - set(checkpoint.head_names())
    assert receipt.modules is not None
    assert receipt.modules.missing == ()
    assert receipt.modules.matched == len(adapter.factors)


def test_a_classifier_learns_and_is_calibrated_on_rows_held_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    kind, settings = CONFIGS["bert"]
    base = write_encoder(
        CLASSES[TASK_WORDS["embedding"]].from_config(kind(**settings, initializer_range=0.2)), tmp_path / "base"
    )
    rows = _write(tmp_path / "rows.jsonl", _rows("classification", 240))
    options = dataclasses.replace(_OPTIONS, task="classification", max_steps=None, epochs=6)
    result = train(base, rows, tmp_path / "out", options, grid=_INT8)
    assert (result.rows_used, result.calibration_rows) == (216, 24)
    assert result.calibrated is not None
    assert result.calibrated.scores["accuracy"] > 0.9
    receipt = _receipt(tmp_path / "out")
    assert receipt.head == result.calibrated.head
    assert receipt.head is not None
    assert receipt.head.temperature != 1.0
    assert receipt.training["calibration"]["rows"] == 24
    held = _write(tmp_path / "held.jsonl", _rows("classification", 40, seed=5))
    other = train(base, rows, tmp_path / "other", dataclasses.replace(options, eval_data=held, max_steps=4), grid=_INT8)
    assert (other.rows_used, other.calibration_rows, other.eval_rows_used) == (240, 0, 40)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_resume_and_low_memory_give_the_same_adapter(tmp_path: Path, dropout: float) -> None:
    base = _base("bert", tmp_path / "base")
    rows = _write(tmp_path / "rows.jsonl", _rows("classification"))
    options = dataclasses.replace(_OPTIONS, task="classification", dropout=dropout)
    train(base, rows, tmp_path / "whole", options, grid=_INT8)
    whole = read_adapter(tmp_path / "whole", with_head=True)
    train(base, rows, tmp_path / "low", dataclasses.replace(options, low_memory=True), grid=_INT8)
    low = read_adapter(tmp_path / "low", with_head=True)
    for key, value in whole.head.items():
        np.testing.assert_allclose(low.head[key], value, rtol=0, atol=1e-5)
    stopped = dataclasses.replace(options, save_every=3)
    with pytest.raises(KeyboardInterrupt):
        train(base, rows, tmp_path / "again", stopped, grid=_INT8, progress=_Stop(5))
    train(base, rows, tmp_path / "again", dataclasses.replace(stopped, resume=True), grid=_INT8)
    again = read_adapter(tmp_path / "again", with_head=True)
    for key, value in whole.head.items():
        np.testing.assert_array_equal(again.head[key], value)
    for module, item in whole.factors.items():
        np.testing.assert_array_equal(again.factors[module].b, item.b)
    more = dataclasses.replace(options, start_from=tmp_path / "whole", rank=None, max_steps=1, learning_rate=1e-9)
    train(base, rows, tmp_path / "more", more, grid=_INT8)
    for key, value in read_adapter(tmp_path / "more", with_head=True).head.items():
        np.testing.assert_allclose(value, whole.head[key], rtol=0, atol=1e-6)


def test_a_start_with_other_labels_is_refused(tmp_path: Path) -> None:
    base = _base("bert", tmp_path / "base")
    rows = _write(tmp_path / "rows.jsonl", _rows("classification"))
    options = dataclasses.replace(_OPTIONS, task="classification", max_steps=1)
    train(base, rows, tmp_path / "first", options, grid=_INT8)
    turned = [{**row, "label": {"with": "yes", "without": "no"}[row["label"]]} for row in _rows("classification")]
    others = _write(tmp_path / "others.jsonl", turned)
    more = dataclasses.replace(options, start_from=tmp_path / "first", rank=None)
    with pytest.raises(
        AdapterError, match="has a head for with, without, the rows have no, yes; start from an adapter"
    ):
        train(base, others, tmp_path / "more", more, grid=_INT8)


def test_rank_auto_keeps_the_head(tmp_path: Path) -> None:
    base = _base("bert", tmp_path / "base")
    rows = _write(tmp_path / "rows.jsonl", _rows("classification"))
    train(base, rows, tmp_path / "out", dataclasses.replace(_OPTIONS, task="classification", rank="auto"), grid=_INT8)
    adapter = read_adapter(tmp_path / "out", with_head=True)
    assert {"classifier.weight", "classifier.bias"} <= set(adapter.head)
    assert adapter.rank < 32


def test_a_head_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    base = _base("bert", tmp_path / "base")
    rows = _write(tmp_path / "rows.jsonl", _rows("classification"))
    train(base, rows, tmp_path / "out", dataclasses.replace(_OPTIONS, task="classification"), grid=_INT8)
    checkpoint = open_checkpoint(str(base), TASK_WORDS["classification"])
    measured = make_receipt(checkpoint, tmp_path / "out", lambda source: plan_grid(source, parse_quant("int8", 16)))
    assert measured.answers == _receipt(tmp_path / "out").answers
    assert measured.head is not None
    fresh = load_torch(with_head(checkpoint, measured.head), None)
    tensors = load_file(tmp_path / "out/adapter_model.safetensors")
    for key in tensors:
        if "lora_" not in key:
            tensors[key] = fresh.get_parameter(key.removeprefix("base_model.model.")).detach().numpy()
    save_file(tensors, tmp_path / "out/adapter_model.safetensors")
    with pytest.raises(AdapterError, match="the adapter's head is as it was before training"):
        make_receipt(checkpoint, tmp_path / "out", lambda source: plan_grid(source, parse_quant("int8", 16)))


@pytest.mark.parametrize(
    ("kind", "changes", "error", "message"),
    [
        ("tagging", {"task": "classification"}, DataError, r"has the keys .*; these are rows for --task tagging"),
        ("classification", {"task": "embedding"}, DataError, r"expected {\"anchor\".*--task classification"),
        ("classification", {"task": "generation"}, CheckpointError, "cannot be opened for 'text-generation'"),
        ("classification", {"task": "sorting"}, ConfigError, "--task is 'sorting', expected one of"),
        ("embedding", {"class_weights": "balanced"}, ConfigError, "--class-weights is about labels"),
        ("embedding", {"class_weights": "equal"}, ConfigError, "--class-weights is 'equal', expected one of none"),
        ("classification", {"task": "classification", "raw": True}, ConfigError, "are about the chat template"),
        ("classification", {"task": "classification", "target_modules": ("nothing",)}, ConfigError, "no such linear"),
        ("classification", {"task": "classification", "max_length": 2}, DataError, "fewer than the special tokens"),
    ],
)
def test_what_does_not_go_together_is_named(
    kind: str, changes: dict[str, Any], error: type[EdgeLoraError], message: str, tmp_path: Path
) -> None:
    base = _base("bert", tmp_path / "base")
    rows = _write(tmp_path / "rows.jsonl", _rows(kind))
    with pytest.raises(error, match=message):
        train(base, rows, tmp_path / "out", dataclasses.replace(_OPTIONS, **changes), grid=_INT8)
    assert not (tmp_path / "out").exists()


class _Stop(Silent):
    """Progress that interrupts a run at a step, as a user would."""

    def __init__(self, step: int) -> None:
        self._step = step

    @contextlib.contextmanager
    def training(self, name: str) -> Iterator[Callable[[StepReport], None]]:
        def report(step: StepReport) -> None:
            if step.step == self._step:
                raise KeyboardInterrupt

        yield report


@pytest.mark.parametrize("word", ["classification", "embedding"])
def test_recovery_brings_a_rounded_encoder_nearer_to_the_float_one(word: str, tmp_path: Path) -> None:
    base = _base("bert", tmp_path / "base")
    text = tmp_path / "text.txt"
    text.write_text("\n".join(" ".join(words) for words in _sentences(80)), encoding="utf-8")
    options = RecoverOptions(task=word, rank=8, max_steps=12, learning_rate=3e-3, init="zero", max_length=20)
    result = recover(base, text, tmp_path / "out", options, grid=GridChoice("int2", block_size=16))
    assert result.measure == "share off"
    assert result.loss < 0.8 * result.first_loss
    receipt = _receipt(tmp_path / "out")
    assert receipt.head is None
    assert bool(receipt.answers) == (word == "embedding")  # without a head there is no answer
    assert read_adapter(tmp_path / "out").head == {}
    rows = _write(tmp_path / "rows.jsonl", _rows(word))
    more = dataclasses.replace(_OPTIONS, task=word, start_from=tmp_path / "out", rank=None)
    train(base, rows, tmp_path / "more", more, grid=GridChoice("int2", block_size=16))
    assert _receipt(tmp_path / "more").answers
    lines = _write(tmp_path / "lines.jsonl", [*_rows("tagging", 4), *_rows("embedding", 4), {"texts": "none"}])
    again = recover(base, lines, tmp_path / "again", options, grid=GridChoice("int2", block_size=16))
    assert (again.rows_used, [problem.line for problem in again.rows_skipped]) == (14, [9])


def test_a_receipt_is_measured_for_the_task_that_peft_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = _base("bert", tmp_path / "base")
    rows = _write(tmp_path / "rows.jsonl", _rows("tagging"))
    train(base, rows, tmp_path / "out", dataclasses.replace(_OPTIONS, task="tagging"), grid=_INT8)
    before = _receipt(tmp_path / "out")
    assert main(["adapter", "receipt", str(base), str(tmp_path / "out")]) == 0
    assert _receipt(tmp_path / "out").answers == before.answers
    (tmp_path / "out/receipt.json").unlink()
    (tmp_path / "out/receipt.md").unlink()
    assert main(["adapter", "receipt", str(base), str(tmp_path / "out"), "--quant", "int8", "--block-size", "16"]) == 0
    after = _receipt(tmp_path / "out")
    assert after.head is not None
    assert (after.head.labels, after.answers) == (("LABEL_0", "LABEL_1"), before.answers)
    assert "a head of 2 labels" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["tagging", "embedding"])
def test_a_grid_is_calibrated_on_the_texts_of_any_rows(kind: str, tmp_path: Path) -> None:
    base = _base("bert", tmp_path / "base")
    rows = _write(tmp_path / "rows.jsonl", _rows(kind))
    options = dataclasses.replace(_OPTIONS, task=kind, max_steps=1)
    train(base, rows, tmp_path / "budget", options, grid=GridChoice("int2", block_size=16, budget_bits=4.0))
    quantization = _receipt(tmp_path / "budget").quantization
    assert quantization is not None
    assert quantization["overrides"]
    train(
        base, rows, tmp_path / "gptq", options, grid=GridChoice("int4", block_size=16, method="gptq", calibration=rows)
    )
    again = _receipt(tmp_path / "gptq").quantization
    assert again is not None
    assert again["calibration"]
    none = _write(tmp_path / "none.jsonl", [{"nothing": 1}])
    with pytest.raises(DataError, match=r"none\.jsonl has no usable row"):
        train(base, rows, tmp_path / "none", options, grid=GridChoice("int4", method="gptq", calibration=none))
