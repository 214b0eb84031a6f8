"""What a training tells others: each step where ``--report-to`` says, the repository of its base to PEFT and a hub."""

import json
import shutil

import huggingface_hub
import pytest

from edgelora.cli import main
from edgelora_runtime.receipt import read_receipt
from tests import tiny
from tests.e2e.train_json import train_json


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.write_checkpoint(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": word, "completion": word.upper()}) + "\n" for word in ("one", "zwei"))
    )
    return path


def test_each_step_is_shown_where_report_to_says(base, rows, tmp_path, capsys, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    options = ("--max-length", 64, "--eval-data", rows, "--eval-every", 2, "--report-to", "tensorboard")
    for _ in range(2):  # the second run takes the place of the first
        train_json(capsys, base, rows, "-o", tmp_path / "adapter", "--max-steps", 4, *options, "--overwrite")
    shown = EventAccumulator(str(tmp_path / "runs" / "adapter")).Reload()
    lines = (tmp_path / "adapter" / "history.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    for name in ("loss", "learning_rate", "tokens", "eval_loss"):
        expected = {step["step"]: step[name] for step in steps if name in step}
        found = shown.Scalars(name)
        assert len(found) == len(expected) >= 2
        assert {event.step: event.value for event in found} == pytest.approx(expected, rel=1e-6)


def test_a_reporter_that_is_unknown_or_missing_is_told_before_any_work(base, rows, tmp_path, capsys, monkeypatch):
    command = ["train", str(base), str(rows), "-o", str(tmp_path / "a"), "--report-to"]
    assert main([*command, "mlflow"]) == 2
    assert capsys.readouterr().err == "edgelora: --report-to is mlflow, expected tensorboard or wandb\n"
    monkeypatch.setattr("edgelora.training.report_to.find_spec", lambda _: None)
    assert main([*command, "wandb"]) == 2
    assert "--report-to wandb needs the package wandb; run `pip install wandb`" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_wandb_gets_each_step(base, rows, tmp_path, capsys, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    train_json(capsys, base, rows, "-o", tmp_path / "a", "--max-steps", 2, "--max-length", 64, "--report-to", "wandb")
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))


def test_an_adapter_of_a_hub_base_names_its_repository(base, rows, tmp_path, capsys, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--some-org--Tiny"
    shutil.copytree(base, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(repository.parent))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    train_json(capsys, "some-org/Tiny@v1", rows, "-o", tmp_path / "adapter", "--max-steps", 1, "--max-length", 64)
    assert huggingface_hub.ModelCard.load(tmp_path / "adapter" / "README.md").data.base_model == "some-org/Tiny"
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "some-org/Tiny"
    assert json.loads((tmp_path / "adapter" / "options.json").read_text())["model"] == "some-org/Tiny@v1"
    assert read_receipt(tmp_path / "adapter").name == "Tiny"
