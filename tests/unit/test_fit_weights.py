import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import edgelora
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.cli import main
from edgelora.data.encode import encode_rows
from edgelora.data.rows import read_rows
from edgelora.errors import AdapterError, ConfigError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.choose_grid import GridChoice, grid_maker
from edgelora.torch_model.merged import load_merged
from edgelora.training.finish_receipt import make_receipt
from edgelora.training.loss import completion_loss
from edgelora_runtime.adapter import Factors, read_adapter
from edgelora_runtime.receipt import read_receipt
from tests.tiny import TARGETS, write_adapter

Call = Callable[..., tuple[int, str, str]]
GRID = functools.partial(plan_grid, plan=parse_quant("int4"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    lines = [{"prompt": f"say {word}", "completion": word.upper()} for word in words]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, rows: Path) -> tuple[Path, Path]:
    """One that has learned the rows, and one that only disturbs."""
    folder = tmp_path_factory.mktemp("pair")
    options = edgelora.TrainOptions(max_steps=25, rank=4, learning_rate=2e-2, date="2025-01-31")
    good = edgelora.train(tiny_checkpoint, rows, folder / "good", options).adapter
    noise = write_adapter(folder / "noise", seed=5, size=0.05, targets=TARGETS[:4])
    return good, noise


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["adapter", "merge", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def loss_of(checkpoint: Path, factors: dict[str, Factors], rows: Path) -> float:
    """With the deltas in the weights, another way to the same answers."""
    base = open_checkpoint(str(checkpoint))
    examples = encode_rows(
        read_rows(rows), open_tokenizer(base), base.eos_token_ids, 512, False, "rows", context=512
    ).examples
    model = load_merged(grid_maker(GridChoice("int4"))(base), factors)
    with torch.inference_mode():
        total = float(completion_loss(model, examples, torch.device("cpu")))
    return total / sum(example.learned for example in examples)


def test_weights_go_to_what_helps_and_the_merged_adapter_does_as_told(
    call: Call, pair: tuple[Path, Path], tiny_checkpoint: Path, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [f"{pair[0]}:0.5", f"{pair[1]}:0.5", "--method", "cat", "--fit", rows, "--base", tiny_checkpoint,
                 "--fit-steps", 12]  # fmt: skip
    code, said, err = call(*arguments, "-o", out, "--json")
    assert code == 0, err
    told = json.loads(said)
    fit = told["fit"]
    assert (fit["rows"], fit["steps"]) == (10, 12)
    assert fit["loss_after"] < fit["loss_before"]
    good, noise = (item["layers"] for item in told["parents"])
    assert good.keys() == noise.keys() == {"0", "1"}
    assert np.mean(list(good.values())) > 0.6
    assert np.mean(list(noise.values())) < 0.4
    merged = dict(read_adapter(out).factors)
    parents = [read_adapter(folder).factors for folder in pair]
    for module, item in merged.items():
        layer = module.split(".")[2]
        expected = good[layer] * parents[0][module].delta()
        if module in parents[1]:
            expected = expected + noise[layer] * parents[1][module].delta()
        np.testing.assert_allclose(item.delta(), expected, atol=1e-5)
    assert loss_of(tiny_checkpoint, merged, rows) == pytest.approx(fit["loss_after"], rel=1e-3)
    receipt = read_receipt(out)
    assert receipt is not None
    assert receipt.parents is not None
    assert receipt.parents["fit"] == fit
    assert [item["layers"] for item in receipt.parents["adapters"]] == [good, noise]
    page = (out / "receipt.md").read_text()
    assert f"- weights found in 12 steps on 10 rows: loss {fit['loss_before']:.4f} to " in page
    assert "- good, weights by layer, factors" in page
    again = tmp_path / "again"
    text = call(*arguments, "-o", again)[1]
    assert "good (from 0.5) + noise (from 0.5) by cat" in text
    assert (again / "adapter_model.safetensors").read_bytes() == (out / "adapter_model.safetensors").read_bytes()


def test_what_cannot_be_fitted_is_refused(
    call: Call, pair: tuple[Path, Path], tiny_checkpoint: Path, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for more, line in (
        (["--fit", rows], "give it with --base MODEL"),
        (["--base", tiny_checkpoint, "--quant", "int4"], "--base and --quant would change nothing without --fit"),
        (
            ["--fit", rows, "--base", tiny_checkpoint, "--method", "ties", "--density", 0.5],
            "--method ties makes another of them; give --method cat or svd",
        ),
        (["--fit", rows, "--base", tiny_checkpoint, "--quant", "int8"], "was trained on another grid of"),
    ):
        code, said, err = call(*pair, *more, "-o", out)
        assert (code, said, err.count("\n")) == (2, "", 1), err
        assert line in err
        assert not out.exists()
    with pytest.raises(ConfigError, match="--fit-steps is 0"):
        edgelora.FitOptions(rows, "base", steps=0)
    stranger = write_adapter(tmp_path / "stranger", seed=1)
    make_receipt(open_checkpoint(str(tiny_checkpoint)), stranger, GRID)  # not the grid of the training
    with pytest.raises(AdapterError, match="were trained on other grids"):
        edgelora.merge_adapters(
            [(pair[0], 1.0), (stranger, 1.0)], out, fit=edgelora.FitOptions(rows, str(tiny_checkpoint))
        )
