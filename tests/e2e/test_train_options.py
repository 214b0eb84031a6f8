"""``--init``, ``--from``, ``--rank auto`` and ``--share-a`` on a tiny model: where a run starts and what it leaves."""

import hashlib
import json

import numpy as np
import peft
import pytest
import torch
import transformers

import edgelora_runtime
from edgelora.adapter.truncate import truncate, write_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.packing import pack_adapter
from edgelora_runtime.receipt import read_receipt
from tests import tiny
from tests.e2e.train_json import train_json

QUICK = ("--batch-size", "4", "--warmup", "0", "--learning-rate", "0.01", "--max-length", "64")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.write_checkpoint(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    words = ("one", "two", "drei", "vier")
    path.write_text("".join(json.dumps({"prompt": word, "completion": word.upper()}) + "\n" for word in words))
    return path


@pytest.fixture(scope="module")
def source(base, rows, tmp_path_factory):
    """An adapter that has learned a little, with a rank and an alpha of its own."""
    out = tmp_path_factory.mktemp("source") / "adapter"
    options = (*QUICK, "--max-steps", "20", "--rank", "5", "--alpha", "15", "--target-modules", "q_proj,down_proj")
    assert main(["train", str(base), str(rows), "-o", str(out), *options, "--eval-data", str(rows)]) == 0
    return out


def refuse(capsys, *arguments):
    capsys.readouterr()
    assert main(["train", *map(str, arguments)]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("edgelora: ")]
    assert len(said) == 1, said
    return said[0]


def distance(base, grid, adapter=None):
    """Mean KL from the float model, of the grid alone or with an adapter, over some random token ids."""
    checkpoint = open_checkpoint(str(base))
    student = load_torch(checkpoint, grid)
    if adapter is not None:
        student = peft.PeftModel.from_pretrained(student, adapter)
    ids = torch.tensor([np.random.default_rng(0).integers(0, 200, 60).tolist()])
    with torch.no_grad():
        teacher, found = (
            model(input_ids=ids).logits.log_softmax(-1) for model in (load_torch(checkpoint, None), student)
        )
    return float((teacher.exp() * (teacher - found)).sum(-1).mean())


def test_residual_starts_nearer_to_the_float_model_as_plain_lora(base, rows, tmp_path, capsys):
    out = tmp_path / "adapter"
    options = (*QUICK, "--max-steps", 1, "--learning-rate", 1e-12, "--quant", "int2", "--rank", 24)
    result = train_json(capsys, base, rows, "-o", out, *options, "--init", "residual")
    plain = train_json(capsys, base, rows, "-o", tmp_path / "plain", *options)
    assert result["first_loss"] != plain["first_loss"]
    checkpoint = open_checkpoint(str(base))
    grid = plan_grid(checkpoint, parse_quant("int2"))
    for module, item in read_adapter(out).factors.items():
        residual = checkpoint.read(f"{module}.weight") - grid.value(f"{module}.weight")
        u, sigma, v = np.linalg.svd(residual, full_matrices=False)
        best = (u[:, :24] * sigma[:24]) @ v[:24]
        np.testing.assert_allclose(item.scaling * item.b @ item.a, best, atol=1e-4)
    assert distance(base, grid, out) < 0.6 * distance(base, grid)
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True
    assert read_receipt(out).training["init"] == "residual"
    assert read_receipt(tmp_path / "plain").training["init"] == "zero"


def test_residual_starts_are_equal_and_need_a_rounded_base(base, rows, tmp_path, capsys):
    options = (*QUICK, "--max-steps", 2, "--init", "residual")
    for name in "ab":
        train_json(capsys, base, rows, "-o", tmp_path / name, *options)
    first, second = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "ab")
    assert first == second
    said = refuse(capsys, base, rows, "-o", tmp_path / "c", *options, "--quant", "none")
    assert "none rounds none of the adapted modules; use --quant int4" in said
    assert "--init is 'pissa', expected one of zero, residual" in refuse(
        capsys, base, rows, "-o", tmp_path / "c", "--init", "pissa"
    )


def test_residual_mends_a_transposed_base(rows, tmp_path, capsys):
    folder = tmp_path / "gpt2"
    tiny.write_checkpoint(folder)
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=264, n_embd=64, n_layer=2, n_head=4, n_positions=128, eos_token_id=258, initializer_range=0.2
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    options = (*QUICK, "--max-steps", 1, "--learning-rate", 1e-12, "--quant", "int2", "--rank", 24)
    train_json(capsys, folder, rows, "-o", tmp_path / "adapter", *options, "--init", "residual")
    grid = plan_grid(open_checkpoint(str(folder)), parse_quant("int2"))
    assert distance(folder, grid, tmp_path / "adapter") < 0.7 * distance(folder, grid)


def test_from_goes_on_where_the_other_adapter_stands(base, rows, source, tmp_path, capsys):
    out = tmp_path / "next"
    ended = read_receipt(source).training["eval_loss"]
    fresh = train_json(capsys, base, rows, "-o", tmp_path / "fresh", *QUICK, "--max-steps", 1)
    result = train_json(capsys, base, rows, "-o", out, *QUICK, "--max-steps", 12, "--from", source, "--eval-data", rows)
    assert result["first_loss"] == pytest.approx(ended, abs=1e-5)
    assert result["first_loss"] < fresh["first_loss"] - 0.1
    assert result["eval_loss"] < result["first_loss"]
    record = read_receipt(out).training
    assert record["start_from"] == hashlib.sha256((source / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert (record["rank"], record["alpha"], record["target_modules"]) == (5, 15.0, ["down_proj", "q_proj"])
    # The same words as in the source are no contradiction.
    again = train_json(
        capsys, base, rows, "-o", out, *QUICK, "--max-steps", 1, "--from", source, "--rank", 5, "--alpha", 15,
        "--target-modules", "q_proj,down_proj", "--overwrite",
    )  # fmt: skip
    assert again["first_loss"] == result["first_loss"]


def test_from_takes_a_truncated_adapter_with_a_rank_for_each_module(base, rows, source, tmp_path, capsys):
    cut = truncate(read_adapter(source), energy=0.8)
    partly = type(cut)({name: item for name, item in cut.factors.items() if name != "model.layers.0.mlp.down_proj"})
    config = json.loads((source / "adapter_config.json").read_text())
    write_adapter(tmp_path / "cut", partly, config)
    ranks = {name: item.a.shape for name, item in partly.factors.items()}
    assert len({shape[0] for shape in ranks.values()}) > 1
    result = train_json(
        capsys, base, rows, "-o", tmp_path / "next", *QUICK, "--max-steps", 1, "--learning-rate", 1e-12,
        "--from", tmp_path / "cut",
    )  # fmt: skip
    assert result["steps"] == 1
    found = read_adapter(tmp_path / "next").factors
    assert {name: item.a.shape for name, item in found.items()} == ranks
    for name, item in partly.factors.items():
        np.testing.assert_allclose(found[name].scaling * found[name].b @ found[name].a, item.b @ item.a, atol=1e-6)


def test_from_what_does_not_fit_is_refused_in_one_line(base, rows, source, tmp_path, capsys):
    other_base = tiny.write_checkpoint(tmp_path / "other", seed=1)
    foreign, shaped = tmp_path / "foreign", tmp_path / "shaped"
    names = [f"base_model.model.model.layers.{layer}.mlp.up_proj.lora_" for layer in (0, 7)]
    pair = {"A.weight": np.ones((2, 64), np.float32), "B.weight": np.ones((96, 2), np.float32)}
    tiny.write_peft(foreign, {name + side: value for name in names for side, value in pair.items()}, 2, 4)
    pair["A.weight"] = np.ones((2, 63), np.float32)
    tiny.write_peft(shaped, {names[0] + side: value for side, value in pair.items()}, 2, 4)
    out = ("-o", tmp_path / "out")
    refused = {
        (base, rows, *out, "--from", source, "--quant", "int8"): "trained on another grid of tiny",
        (base, rows, *out, "--from", source, "--quant", "none"): "this run uses the float weights",
        (other_base, rows, *out, "--from", source): "trained on another base: tiny",
        (base, rows, *out, "--from", source, "--rank", 4): "--rank is 4, it has 5",
        (base, rows, *out, "--from", source, "--alpha", 4): "--alpha is 4.0, it has 15.0",
        (base, rows, *out, "--from", source, "--target-modules", "q_proj"): "it has down_proj,q_proj",
        (base, rows, *out, "--from", source, "--init", "zero"): "--from and --init exclude each other",
        (base, rows, *out, "--from", source, "--rank", "auto"): "--from and --rank auto exclude each other",
        (base, rows, *out, "--from", tmp_path / "none"): "has no adapter_config.json",
        (base, rows, *out, "--from", foreign): "model.layers.7.mlp.up_proj: the base has no such linear",
        (base, rows, *out, "--from", shaped): "B A is (96, 63), the base (96, 64)",
    }
    for arguments, reason in refused.items():
        assert reason in refuse(capsys, *arguments)
    assert not (tmp_path / "out" / "adapter_config.json").exists()


def _steps(folder):
    lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


def test_patience_ends_a_run_that_gets_no_better_and_keeps_the_best_adapter(base, rows, tmp_path, capsys):
    # What is held out contradicts what is learned: the loss on it rises after a few steps.
    held = tmp_path / "held.jsonl"
    held.write_text("".join(json.dumps({"prompt": word, "completion": word}) + "\n" for word in ("one", "drei")))
    options = (*QUICK, "--learning-rate", "0.03", "--max-steps", 60, "--eval-data", held, "--eval-every", 2)
    whole = train_json(capsys, base, rows, "-o", tmp_path / "whole", *options)
    assert whole["steps"] == whole["planned_steps"] == 60
    stopped = train_json(capsys, base, rows, "-o", tmp_path / "early", *options, "--patience", 3)
    early, all_steps = _steps(tmp_path / "early"), _steps(tmp_path / "whole")
    assert early == all_steps[: len(early)]  # patience changes nothing but the end
    losses = [step["eval_loss"] for step in early if "eval_loss" in step]
    assert losses.index(min(losses)) == len(losses) - 4
    assert stopped["eval_loss"] == min(losses)
    assert (stopped["steps"], stopped["planned_steps"]) == (len(early), 60)
    assert read_receipt(tmp_path / "early").training["steps"] == len(early) < 60
    # It is the adapter of the best evaluation: to go on from it begins at that loss.
    again = train_json(
        capsys, base, held, "-o", tmp_path / "again", *QUICK, "--max-steps", 1, "--from", tmp_path / "early"
    )
    assert again["first_loss"] == pytest.approx(min(losses), abs=1e-4)

    # A run that breaks off at its end resumes to the same one, and says to people that it ended early.
    out, saved = tmp_path / "resumed", ("--patience", 3, "--save-every", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgelora.training.run.publish", _interrupt)
        assert main(["train", *map(str, (base, rows, "-o", out, *options, *saved))]) == 130
    capsys.readouterr()
    assert main(["train", *map(str, (base, rows, "-o", out, *options, *saved, "--resume"))]) == 0
    assert f"stopped after {len(early)} of 60 steps" in capsys.readouterr().out
    assert _steps(out) == early
    name = "adapter_model.safetensors"
    assert (out / name).read_bytes() == (tmp_path / "early" / name).read_bytes()


def test_patience_without_evaluations_is_refused(base, rows, tmp_path, capsys):
    refused = {
        ("--patience", 2): "give rows held out with --eval-data",
        ("--patience", 0, "--eval-data", rows): "--patience is 0, expected at least 1",
        ("--patience", 2, "--eval-data", rows, "--eval-every", 0): "--patience needs evaluations on the way",
    }
    for options, reason in refused.items():
        assert reason in refuse(capsys, base, rows, "-o", tmp_path / "out", *QUICK, *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_history_shows_the_schedule(base, rows, tmp_path, capsys, schedule):
    options = (*QUICK, "--max-steps", 8, "--warmup", 2)
    train_json(capsys, base, rows, "-o", tmp_path / "named", *options, "--schedule", schedule)
    rates = [step["learning_rate"] for step in _steps(tmp_path / "named")]
    assert rates[0] < rates[1] < rates[2] == 0.01
    expected = {"constant": 0.01, "linear": 0.01 * (1 - 3 / 6), "cosine": 0.01 * 0.5}
    assert rates[5] == pytest.approx(expected[schedule])
    if schedule == "cosine":  # the default
        train_json(capsys, base, rows, "-o", tmp_path / "plain", *options)
        assert _steps(tmp_path / "plain") == _steps(tmp_path / "named")


def test_a_checkpoint_belongs_to_its_start(base, rows, source, tmp_path, capsys):
    out, options = tmp_path / "adapter", (*QUICK, "--max-steps", "6", "--save-every", "4")
    train_json(capsys, base, rows, "-o", out, *options, "--from", source)
    stopped = tmp_path / "stopped"
    # A run that breaks off between its checkpoint and its end.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgelora.training.run.publish", _interrupt)
        assert main(["train", *map(str, (base, rows, "-o", stopped, *options, "--from", source))]) == 130
    shape = ("--rank", 5, "--alpha", 15, "--target-modules", "q_proj,down_proj")
    for start in (shape, (*shape, "--init", "residual")):
        assert "other options" in refuse(capsys, base, rows, "-o", stopped, *options, *start, "--resume")
    train_json(capsys, base, rows, "-o", stopped, *options, "--from", source, "--resume")
    for name in ("adapter_model.safetensors", "receipt.json"):
        assert (stopped / name).read_bytes() == (out / name).read_bytes()


def _interrupt(*_arguments):
    raise KeyboardInterrupt


def test_rank_auto_trains_wide_and_says_what_the_cut_cost(base, rows, tmp_path, capsys):
    out = tmp_path / "adapter"
    options = (*QUICK, "--max-steps", 15, "--rank", "auto")
    result = train_json(capsys, base, rows, "-o", out, *options, "--eval-data", rows, "--rank-energy", 0.9)
    cut = result["truncation"]
    factors = read_adapter(out).factors
    ranks = [item.a.shape[0] for item in factors.values()]
    assert cut["rank_before"] == 32
    assert cut["largest_rank"] == max(ranks) < 32
    assert cut["mean_rank"] == pytest.approx(np.mean(ranks), abs=0.01)
    assert cut["parameters"] == sum(item.a.size + item.b.size for item in factors.values()) < cut["parameters_before"]
    assert result["eval_loss"] == cut["loss_after"]
    assert read_receipt(out).truncation == cut
    # PEFT opens ranks of their own, and the loss of the folder is the one that was told.
    follow = train_json(capsys, base, rows, "-o", tmp_path / "next", *QUICK, "--max-steps", 1, "--from", out)
    assert follow["first_loss"] == pytest.approx(cut["loss_after"], abs=1e-4)
    # Without rows held out, the last batch is what the cost is told of; it has all four rows.
    plain = train_json(capsys, base, rows, "-o", tmp_path / "plain", *options, "--rank-energy", 1.0)
    assert plain["eval_loss"] is None
    assert plain["truncation"]["loss_after"] == pytest.approx(plain["truncation"]["loss_before"], abs=1e-4)


def test_shared_a_is_one_rank_block_on_the_device(base, rows, tmp_path, capsys):
    out, artifact = tmp_path / "adapter", tmp_path / "artifact"
    options = (*QUICK, "--max-steps", 12, "--rank", 3, "--share-a")
    result = train_json(capsys, base, rows, "-o", out, *options)
    apart = train_json(capsys, base, rows, "-o", tmp_path / "apart", *options[:-1])
    assert result["loss"] < result["first_loss"]
    assert result["trainable_parameters"] == apart["trainable_parameters"] - tiny.LAYERS * 3 * 3 * tiny.HIDDEN
    factors = read_adapter(out).factors
    for leaves in (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("mlp.gate_proj", "mlp.up_proj")):
        first, *others = (factors[f"model.layers.1.{leaf}"] for leaf in leaves)
        for other in others:
            assert np.array_equal(first.a, other.a)
            assert other.b.any()
    assert main(["export", str(base), "-o", str(artifact), "--quant", "int4", "--adapter", f"shared={out}"]) == 0
    packed = pack_adapter(read_adapter(out), read_manifest(artifact).slots)
    assert {array.shape[2] for name, array in packed.items() if name.endswith("lora_A")} == {3}
    assert main(["verify", str(artifact)]) == 0
    model = edgelora_runtime.load(artifact, probe=True)  # the device does what PyTorch recorded in the receipt
    assert model.probe("shared").passed

    follow = train_json(
        capsys, base, rows, "-o", tmp_path / "next", *QUICK, "--max-steps", 2, "--share-a", "--from", out
    )
    assert follow["first_loss"] < result["first_loss"]
    grown = read_adapter(tmp_path / "next").factors
    assert np.array_equal(grown["model.layers.0.mlp.gate_proj"].a, grown["model.layers.0.mlp.up_proj"].a)
    refused = {
        ("--rank", "auto"): "--share-a and --rank auto exclude each other",
        ("--init", "residual"): "--share-a and --init residual exclude each other",
        ("--from", tmp_path / "apart"): "have an A each in the adapter to start from",
    }
    for more, reason in refused.items():
        assert reason in refuse(capsys, base, rows, "-o", tmp_path / "no", *QUICK, "--share-a", *more)


def test_rank_options_that_cannot_be_are_refused(base, rows, tmp_path, capsys):
    refused = {
        ("--rank", "broad"): "--rank is 'broad', expected a whole number from 1, or auto",
        ("--rank-energy", 0.9): "give --rank auto as well",
        ("--rank", "auto", "--rank-energy", 1.5): "--rank-energy is 1.5, expected a share above 0 and at most 1",
    }
    for options, reason in refused.items():
        assert reason in refuse(capsys, base, rows, "-o", tmp_path / "out", *options)
