"""``edgelora train`` on a tiny random model: it learns, survives a kill, and says in one line what it cannot use."""

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub
import peft
import pytest
import safetensors.numpy
import tokenizers
import torch
import transformers

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.choose_grid import GridChoice, choose_grid
from edgelora.training.resume import CHECKPOINT_FOLDER
from edgelora_runtime.files import reserve
from edgelora_runtime.receipt import read_receipt
from tests.e2e.train_json import train_json

ROOT = Path(__file__).parents[2]
TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
QUICK = ("--max-steps", "30", "--batch-size", "4", "--rank", "4", "--warmup", "2", "--learning-rate", "0.02")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A Hugging Face folder with a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", "<s>", "</s>"]
    vocab = {token: index for index, token in enumerate([*special, *alphabet])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=264,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=2,
        initializer_range=0.15,  # a head of the usual tiny random values could not be moved by adapters
        pad_token_id=0,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [json.dumps({"prompt": f"say {word}", "completion": word.upper()}) for word in ("one", "two", "drei", "四")]
    path.write_text("\n".join([*lines, "{", '{"prompt": "' + "x" * 200 + '", "completion": "y"}', *lines]) + "\n")
    return path


def read_history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def test_training_lowers_the_loss_and_leaves_a_peft_folder(base, rows, tmp_path, capsys):
    out = tmp_path / "deep" / "adapter"
    result = train_json(
        capsys, base, rows, "-o", out, *QUICK, "--max-steps", 60, "--eval-data", rows, "--eval-every", 10,
        "--max-length", 64,
    )  # fmt: skip
    start = train_json(capsys, base, rows, "-o", tmp_path / "one", "--max-steps", 1, "--max-length", 64)
    assert result["steps"] == 60
    assert result["loss"] < start["loss"] - 1
    assert result["eval_loss"] < start["loss"] - 1
    assert result["rows"]["used"] == 8
    assert [problem["line"] for problem in result["rows"]["skipped"]] == [5, 6]
    assert "not JSON" in result["rows"]["skipped"][0]["reason"]
    assert "--max-length 64" in result["rows"]["skipped"][1]["reason"]
    assert sorted(item.name for item in out.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "history.jsonl", "options.json",
        "receipt.json", "receipt.md",
    ]  # fmt: skip
    assert [item.name for item in out.parent.iterdir()] == ["adapter"]

    card = huggingface_hub.ModelCard.load(out / "README.md")
    assert (card.data.base_model, card.data.library_name) == (base.name, "peft")
    assert {"lora", "edgelora"} <= set(card.data.tags)
    assert card.text.count("on 8 rows of `rows.jsonl`") == 2
    assert f"60 steps, loss {result['loss']:.4f}, {result['eval_loss']:.4f} on what was held out" in card.text
    assert "](receipt.md)" in card.text

    steps = read_history(out)
    assert [step["step"] for step in steps] == list(range(1, 61))
    assert steps[0]["loss"] == result["first_loss"]
    assert sum(step["loss"] for step in steps[-20:]) / 20 == pytest.approx(result["loss"])
    assert [step["step"] for step in steps if "eval_loss" in step] == [10, 20, 30, 40, 50, 60]
    assert min(step["eval_loss"] for step in steps if "eval_loss" in step) == result["eval_loss"]
    assert max(step["learning_rate"] for step in steps) == 0.02
    assert steps[0]["tokens"] > 0
    for one, following in itertools.pairwise(steps):
        assert one["tokens"] < following["tokens"]
        assert one["seconds"] < following["seconds"]

    tensors = safetensors.numpy.load_file(out / "adapter_model.safetensors")
    assert result["trainable_parameters"] == sum(tensor.size for tensor in tensors.values())
    checkpoint = open_checkpoint(str(base))
    grid = choose_grid(checkpoint, GridChoice("int4")).grid
    receipt = read_receipt(out)
    assert (receipt.fingerprint, receipt.grid) == (grid.base_fingerprint, grid.fingerprint)
    assert receipt.quantization == grid.record()
    # PEFT opens the folder, and on the same grid it has learned the answer.
    model = peft.PeftModel.from_pretrained(load_torch(checkpoint, grid), out)
    prompt = list(b"<s>user\nsay two</s>\n<s>assistant\n")
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == checkpoint.name
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    ids = tokenizer(bytes(prompt).decode(), return_tensors="pt", add_special_tokens=False).input_ids
    answer = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(answer) == "TWO</s>"


def test_a_killed_run_resumes_to_the_same_adapter(base, rows, tmp_path, capsys):
    options = (*QUICK, "--save-every", "3", "--accumulate", "2", "--eval-data", rows, "--eval-every", 5)
    whole = train_json(capsys, base, rows, "-o", tmp_path / "whole", *options)

    out = tmp_path / "killed"
    command = [sys.executable, "-m", "edgelora", "train", str(base), str(rows), "-o", str(out), *map(str, options)]
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "exporters", "runtime/python"))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, cwd=ROOT)
    state = out / CHECKPOINT_FOLDER / "state.pt"
    while not state.exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said.decode()
    assert [item.name for item in out.iterdir()] == [CHECKPOINT_FOLDER]
    saved = torch.load(state, weights_only=True)["step"]
    assert saved < 30
    seen = read_history(state.parent)  # it is there to be read as training goes
    assert [step["step"] for step in seen] == list(range(1, len(seen) + 1))
    assert len(seen) >= saved

    # Other options would not give the adapter that was asked for first.
    assert main(["train", str(base), str(rows), "-o", str(out), *map(str, options), "--resume", "--seed", "1"]) == 2
    assert "other options" in capsys.readouterr().err
    resumed = train_json(capsys, base, rows, "-o", out, *options, "--resume")
    assert {key: resumed[key] for key in ("steps", "loss", "eval_loss")} == {
        key: whole[key] for key in ("steps", "loss", "eval_loss")
    }
    for name in ("adapter_model.safetensors", "adapter_config.json", "receipt.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    once, twice = ([{**step, "seconds": 0} for step in read_history(folder)] for folder in (tmp_path / "whole", out))
    assert once == twice
    assert len(once) == 30
    assert [item.name for item in out.iterdir() if item.is_dir()] == []


def test_what_is_in_the_way_is_never_replaced(base, rows, tmp_path, capsys):
    adapter, other = tmp_path / "adapter", tmp_path / "other"
    adapter.mkdir()
    other.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (other / "thesis.txt").write_text("years of work")
    refused = {
        (rows, adapter): "already holds an adapter",
        (rows, other): "holds other files (thesis.txt)",
        (rows, other, "--overwrite"): "holds other files (thesis.txt)",
        (rows, rows): "is a file",
    }
    for (data, out, *rest), reason in refused.items():
        assert main(["train", str(base), str(data), "-o", str(out), *rest]) == 2
        assert reason in capsys.readouterr().err
    assert (other / "thesis.txt").exists()
    train_json(capsys, base, rows, "-o", adapter, "--max-steps", 1, "--overwrite")
    assert (adapter / "receipt.json").is_file()


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("command", ["train", "recover"])
def test_nothing_of_the_users_is_replaced_by_an_adapter(base, rows, tmp_path, capsys, command):
    model, adapter, artifact = tmp_path / "model", tmp_path / "adapter", tmp_path / "artifact"
    shutil.copytree(base, model)
    train_json(capsys, base, rows, "-o", adapter, "--max-steps", 1)
    for mixed in ("notes", "checkpoint"):
        shutil.copytree(adapter, tmp_path / mixed)
    (tmp_path / "notes" / "notes.txt").write_text("years of work")
    (tmp_path / "checkpoint" / ".checkpoint").mkdir()
    (tmp_path / "checkpoint" / ".checkpoint" / "notes.txt").write_text("years of work")
    assert main(["export", str(base), "-o", str(artifact), "--adapter", f"a={adapter}"]) == 0
    assert (adapter / "history.jsonl").is_file()
    assert not [*artifact.rglob("history.jsonl"), *artifact.rglob("README.md")]
    shutil.copytree(adapter, tmp_path / "card")
    (tmp_path / "card" / "README.md").write_text("years of work")
    before = snapshot(tmp_path)
    for out, reason in {
        model: "model holds other files (",
        tmp_path / "card": "card holds other files (README.md)",
        tmp_path / "notes": "notes holds other files (notes.txt)",
        tmp_path / "checkpoint": "checkpoint holds other files (.checkpoint/notes.txt)",
        artifact: "artifact holds other files (",
        artifact / "adapters" / "a": "a is inside the artifact",
        artifact / "new": "new is inside the artifact",
    }.items():
        capsys.readouterr()
        assert main([command, str(model), str(rows), "-o", str(out), "--overwrite", "--max-steps", "1"]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert reason in said
        assert snapshot(tmp_path) == before
    assert main(["adapter", "truncate", str(adapter), "-o", str(artifact / "cut"), "--rank", "1"]) == 2
    assert main(["adapter", "truncate", str(adapter), "-o", str(adapter), "--rank", "1"]) == 2
    assert main(["adapter", "receipt", str(base), str(artifact / "adapters" / "a")]) == 2
    assert main(["quantize", str(base), "-o", str(artifact / "grid"), "--overwrite"]) == 2
    assert snapshot(tmp_path) == before
    (adapter / "receipt.json").unlink()
    (adapter / "receipt.md").write_text("years of work")
    before = snapshot(tmp_path)
    assert main(["adapter", "receipt", str(base), str(adapter)]) == 2
    assert snapshot(tmp_path) == before


def test_an_adapter_is_replaced_where_it_is_however_its_place_is_written(base, rows, tmp_path, capsys, monkeypatch):
    real = tmp_path / "x" / "real"
    train_json(capsys, base, rows, "-o", real, "--max-steps", 1)
    (tmp_path / "link").symlink_to("x/real")
    monkeypatch.chdir(tmp_path)
    for steps, out in enumerate(("link", "x/../x/real", "x/real/", "nowhere/../link"), start=2):
        train_json(capsys, base, rows, "-o", out, "--max-steps", steps, "--overwrite")
        assert read_receipt(real).training["steps"] == steps
        assert os.readlink(tmp_path / "link") == "x/real"
        assert sorted(os.listdir(tmp_path)) == ["link", "x"]
        assert os.listdir(tmp_path / "x") == ["real"]


def test_an_adapter_may_go_on_from_itself_in_its_own_place(base, rows, tmp_path, capsys):
    out = tmp_path / "a"
    train_json(capsys, base, rows, "-o", out, "--max-steps", 2)
    before = snapshot(tmp_path)
    assert main(["train", str(base), str(rows), "-o", str(out), "--from", str(out), "--max-steps", "1"]) == 2
    assert snapshot(tmp_path) == before
    train_json(capsys, base, rows, "-o", out, "--from", out, "--max-steps", 1, "--overwrite")
    assert read_receipt(out).training["start_from"] == hashlib.sha256(before["a/adapter_model.safetensors"]).hexdigest()


def test_a_place_where_another_run_writes_is_refused_before_any_work(base, rows, tmp_path, capsys):
    out = tmp_path / "deep" / "a"
    with reserve(out):
        for command in (
            ["train", str(base), str(rows), "-o", str(out), "--max-steps", "1"],
            ["export", str(base), "-o", str(out)],
        ):
            capsys.readouterr()
            assert main(command) == 2
            assert f"{out}: another command is writing there; wait for it" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_run_that_fails_leaves_no_folder(base, rows, tmp_path, capsys):
    assert main(["train", str(base), str(rows), "-o", str(tmp_path / "deep" / "a"), "--learning-rate", "1e30"]) == 2
    assert os.listdir(tmp_path) == []


def test_rows_of_csv_and_of_alpaca_train_as_the_same_rows_of_jsonl(base, tmp_path, capsys):
    words = ("one", "two", "drei", "四")
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"say {word}", "completion": word.upper()}) for word in words)
    )
    (tmp_path / "b.csv").write_text(
        "\n".join(["prompt,completion", *(f'"say {word}",{word.upper()}' for word in words), "short"])
    )
    (tmp_path / "c.csv").write_text(
        "\n".join(["instruction,input,output", *(f"say {word},,{word.upper()}" for word in words)])
    )
    results = {
        path.name: train_json(capsys, base, path, "-o", tmp_path / path.stem, "--max-steps", 2, "--max-length", 64)
        for path in sorted(tmp_path.glob("*.*"))
    }
    assert len({result["loss"] for result in results.values()}) == 1
    assert [result["rows"]["used"] for result in results.values()] == [4, 4, 4]
    assert results["b.csv"]["rows"]["skipped"] == [
        {"line": 6, "reason": "has 1 cells, expected 2, as the first line has"}
    ]


def test_bad_input_is_one_line_and_exit_code_2(base, rows, tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": ""}\n[1]\n')
    table = tmp_path / "bad.csv"
    table.write_text('prompt,completion\nsay one,"ONE\n')
    state = tmp_path / "damaged" / CHECKPOINT_FOLDER / "state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"half a fi")
    out = tmp_path / "out"
    refused = {
        (base, bad, "-o", out): "line 1: text is empty or no string; line 2: a JSON list",
        (base, tmp_path / "none.jsonl", "-o", out): "is not a file",
        (base, table, "-o", out): "bad.csv line 2: no CSV (a quoted cell does not end)",
        (base, rows, "-o", out, "--max-length", 5): "has no row to train on",
        (
            base,
            rows,
            "-o",
            out,
            "--rank",
            0,
            "--learning-rate",
            "-1",
        ): "--rank is 0, expected at least 1; --alpha is 0.0",
        (base, rows, "-o", out, "--quant", "int3"): "int3",
        (base, rows, "-o", out, "--target-modules", "q_proj,w_proj"): "w_proj: no such linear",
        (base, rows, "-o", out, "--learning-rate", "1e30", "--warmup", 0, "--max-steps", 9): "lower --learning-rate",
        (base, rows, "-o", state.parents[1], "--resume"): "is damaged",
        (tmp_path, rows, "-o", out): "config.json",
    }
    for arguments, reason in refused.items():
        assert main(["train", *map(str, arguments)]) == 2, reason
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("edgelora: ")]
        assert len(said) == 1, said
        assert reason in said[0]
    assert not (out / "adapter_config.json").exists()
