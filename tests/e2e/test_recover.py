"""``edgelora recover`` on a tiny model: a 2-bit base answers like the float one again, by an ordinary adapter."""

import contextlib
import json
import random

import peft
import pytest
import torch
from tokenizers import Tokenizer

from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.progress import Silent
from edgelora.torch_model.build import load_torch
from edgelora.training.resume import CHECKPOINT_FOLDER
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.receipt import read_receipt
from tests import tiny

QUICK = ("--max-length", "48", "--max-steps", "40", "--rank", "8", "--learning-rate", "0.01", "--warmup", "2")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.write_checkpoint(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A text to learn from and one of other sentences to judge by."""
    folder = tmp_path_factory.mktemp("texts")
    words = ["the", "river", "runs", "past", "seven", "mills", "and", "a", "bridge", "where", "children", "fish"]
    for name, seed, count in (("train.txt", 0, 400), ("held.txt", 1, 60)):
        draw = random.Random(seed)
        (folder / name).write_text(" ".join(draw.choice(words) for _ in range(count)))
    return folder


def run_json(capsys, command, *arguments):
    capsys.readouterr()
    assert main([command, *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def mean_kl(base, text, adapter):
    """KL(float || grid with the adapter) a token, with transformers and PEFT alone; windows of 48 bytes."""
    checkpoint = open_checkpoint(str(base))
    teacher, student = load_torch(checkpoint, None), load_torch(checkpoint, plan_grid(checkpoint, parse_quant("int2")))
    if adapter is not None:
        student = peft.PeftModel.from_pretrained(student, adapter)
    ids = Tokenizer.from_file(str(base / "tokenizer.json")).encode(text.read_text()).ids
    total = count = 0
    for start in range(0, len(ids), 48):
        window = torch.tensor([ids[start : start + 48]])
        with torch.no_grad():
            taught, found = (model(input_ids=window).logits[0, :-1].log_softmax(-1) for model in (teacher, student))
        total += float((taught.exp() * (taught - found)).sum())
        count += len(found)
    return total / count


def test_recovery_brings_a_coarse_base_back_to_the_float_model(base, texts, tmp_path, capsys):
    out = tmp_path / "recovered"
    held = texts / "held.txt"
    result = run_json(
        capsys, "recover", base, texts / "train.txt", "-o", out, *QUICK, "--quant", "int2", "--eval-data", held
    )
    before, after = mean_kl(base, held, None), mean_kl(base, held, out)
    assert result["eval_loss"] == pytest.approx(after, rel=1e-3)
    assert after < 0.4 * before
    assert result["loss"] < result["first_loss"]
    # The rounding taken apart is half of it, learning the rest.
    start = run_json(
        capsys, "recover", base, texts / "train.txt", "-o", tmp_path / "start", *QUICK, "--max-steps", 1,
        "--learning-rate", 1e-12, "--eval-data", held,
    )  # fmt: skip
    assert after < 0.7 * start["eval_loss"] < 0.95 * before
    assert set(result) >= {"adapter", "steps", "trainable_parameters", "rows", "eval_rows", "tokens_per_s", "seconds"}
    record = read_receipt(out).training
    assert (record["lesson"], record["init"]) == ("recovery", "residual")
    assert record["eval_loss"] == result["eval_loss"]


def test_a_recovery_adapter_goes_into_an_artifact_and_starts_another(base, texts, tmp_path, capsys):
    out, rows = tmp_path / "recovered", tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": word, "completion": word[::-1]}) + "\n" for word in ("abc", "xyz")))
    run_json(capsys, "recover", base, texts / "train.txt", "-o", out, *QUICK, "--max-steps", 5)
    tiny.write_artifact(base, tmp_path / "artifact", quant="int2", reference=False)
    assert add_adapter(tmp_path / "artifact", "recovered", out).rank == 8
    result = run_json(
        capsys, "train", base, rows, "-o", tmp_path / "task", "--quant", "int2", "--from", out, "--max-steps", 3
    )
    assert result["steps"] == 3
    assert read_receipt(tmp_path / "task").training["lesson"] == "completions"
    # And rows are text as well: prompt and completion count from the first token on.
    again = run_json(capsys, "recover", base, rows, "-o", tmp_path / "again", "--from", out, "--max-steps", 2)
    assert again["rows"]["used"] == 2
    assert read_receipt(tmp_path / "again").training["init"] == "zero"
    assert set(read_adapter(tmp_path / "again").factors) == set(read_adapter(out).factors)


def test_a_stopped_recovery_resumes_to_the_same_adapter(base, texts, tmp_path, capsys, monkeypatch):
    options = (*QUICK, "--max-steps", "12", "--save-every", "2", "--eval-data", texts / "held.txt", "--eval-every", 5)
    data, out = texts / "train.txt", tmp_path / "stopped"
    whole = run_json(capsys, "recover", base, data, "-o", tmp_path / "whole", *options)

    def stop_at_seven(report):
        if report.step == 7:
            raise KeyboardInterrupt

    class Stopping(Silent):
        @contextlib.contextmanager
        def training(self, name):
            yield stop_at_seven

    with monkeypatch.context() as patch:
        patch.setattr("edgelora.cli.recover.BARS", Stopping())
        assert main(["recover", *map(str, (base, data, "-o", out, *options))]) == 130
    assert [item.name for item in out.iterdir()] == [CHECKPOINT_FOLDER]
    assert torch.load(out / CHECKPOINT_FOLDER / "state.pt", weights_only=True)["step"] == 6
    capsys.readouterr()
    assert main(["recover", *map(str, (base, data, "-o", out, *options, "--init", "zero", "--resume"))]) == 2
    assert "other options" in capsys.readouterr().err
    resumed = run_json(capsys, "recover", base, data, "-o", out, *options, "--resume")
    assert {key: resumed[key] for key in ("steps", "loss", "eval_loss")} == {
        key: whole[key] for key in ("steps", "loss", "eval_loss")
    }
    for name in ("adapter_model.safetensors", "adapter_config.json", "receipt.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    steps = [
        [{**json.loads(line), "seconds": 0} for line in (folder / "history.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "whole", out)
    ]
    assert steps[0] == steps[1]
    assert [step["step"] for step in steps[0]] == list(range(1, 13))


def test_bad_input_is_one_line_and_exit_code_2(base, texts, tmp_path, capsys):
    (tmp_path / "short.txt").write_text("x")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    data, out = texts / "train.txt", ("-o", tmp_path / "out")
    refused = {
        (base, data, *out, "--quant", "none"): "mends a quantized base and this one is not; use --quant int2",
        (base, data, *out, "--quant", "none", "--init", "zero"): "mends a quantized base",
        (base, tmp_path / "none.txt", *out): "is not a file; expected plain text (.txt)",
        (base, tmp_path / "short.txt", *out): "too few tokens to predict one from another",
        (base, tmp_path / "latin.txt", *out): "is not UTF-8 at byte 3",
        (base, data, *out, "--eval-data", tmp_path / "none.jsonl"): "is not a file",
        (base, data, *out, "--rank", 0): "--rank is 0",
        (base, data, *out, "--from", tmp_path): "has no adapter_config.json",
    }
    for arguments, reason in refused.items():
        assert main(["recover", *map(str, arguments)]) == 2, reason
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("edgelora: ")]
        assert len(said) == 1, said
        assert reason in said[0]
    assert not (tmp_path / "out" / "adapter_config.json").exists()


def test_low_memory_learns_the_same(base, texts, tmp_path, capsys):
    found = [
        run_json(capsys, "recover", base, texts / "train.txt", "-o", tmp_path / str(len(more)), *QUICK, *more)
        for more in (("--max-steps", 4), ("--max-steps", 4, "--low-memory"))
    ]
    for key in ("first_loss", "loss"):
        assert found[1][key] == pytest.approx(found[0][key], abs=1e-4)
