"""Merging into quantized weights: refused where rounding takes the adapter away, and layer by layer where measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.grid.blocks import dequantize, quantize
from edgelora.grid.file import write_grid
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.merging.merge import MergedCheckpoint, read_factors
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.merge_kl import MergeKl, read_kl_prompts
from edgelora.values import QuantSpec
from edgelora_runtime import load
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.receipt import Receipt, write_receipt
from tests.tiny import write_adapter, write_checkpoint, write_peft

_RANK = 8
_IDS = list(range(5, 60, 3))
_LARGE, _SMALL = 0.1, 1e-4  # of B: a delta that rounding would spoil, and one that nobody would miss


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("merge") / "base")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large delta in layer 0 and a small one in layer 1."""
    return _layered(tmp_path_factory.mktemp("merge") / "uneven", [_LARGE, _SMALL])


def _layered(folder: Path, sizes: Sequence[float]) -> Path:
    write_adapter(folder, rank=_RANK, size=1.0)
    tensors = {}
    for module, item in read_adapter(folder).factors.items():
        layer = int(module.split(".")[2])
        tensors[f"base_model.model.{module}.lora_A.weight"] = item.a
        tensors[f"base_model.model.{module}.lora_B.weight"] = item.b * np.float32(sizes[layer])
    write_peft(folder, tensors, rank=_RANK, alpha=_RANK)
    return folder


def _export(base: Path, out: Path, adapter: Path, *options: str) -> int:
    """Onto the plain grid, which is easily made by hand, unless ``options`` name another."""
    plain = () if "--quant" in options else ("--quant-method", "rtn", "--embedding-bits", "4")
    symmetric = () if "--quant" in options or "--asymmetric" in options else ("--symmetric",)
    options = ("--merge", str(adapter), "--accuracy-level", "0", *plain, *symmetric, *options)
    return main(["export", str(base), "-o", str(out), *options])


def _auto(base: Path, out: Path, adapter: Path, *options: str) -> Mapping[str, Any]:
    assert _export(base, out, adapter, "--merge-policy", "auto", *options) == 0
    merged = read_manifest(out).merged
    assert merged is not None
    return merged


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def _choices(merged: Mapping[str, Any]) -> list[str]:
    return [item["choice"] for item in merged["layers"].values()]


def test_a_merge_that_rounds_away_is_refused(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faint = _layered(tmp_path / "faint", [1e-4, 1e-4])
    assert _export(base, tmp_path / "a", faint) == 2
    said = _error(capsys)
    assert "rounds away what was trained" in said
    assert "--accept-lossy-merge" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faint"]
    assert _export(base, tmp_path / "a", faint, "--accept-lossy-merge", "--json") == 0
    merged = json.loads(capsys.readouterr().out)["merged"]
    assert merged["survival"]["correlation"] < 0.5
    assert merged["survival"]["step_to_delta"] > 50
    assert merged == read_manifest(tmp_path / "a").merged


@pytest.mark.parametrize("quant", ["none", "fp16"])
def test_floats_keep_the_faintest_merge(base: Path, quant: str, tmp_path: Path) -> None:
    faint = _layered(tmp_path / "faint", [1e-4, 1e-4])
    assert _export(base, tmp_path / "a", faint, "--quant", quant) == 0
    assert read_manifest(tmp_path / "a").merged == {"adapter": "faint", "policy": "all"}


def test_a_merge_that_survives_says_how_well(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strong = write_adapter(tmp_path / "strong", size=_LARGE)
    assert _export(base, tmp_path / "a", strong, "--quant", "int8") == 0
    assert "the merge leaves a change that correlates 1.00 with the adapter" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "a")]) == 0
    assert "the merge leaves a change that correlates 1.00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("max_kl", "expected"),
    [
        ("1e-9", ["factored", "factored"]),
        ("1e-4", ["factored", "int4"]),
        ("0.05", ["int8", "int4"]),
        ("9", ["int4"] * 2),
    ],
)
def test_auto_takes_what_kl_allows_and_ships_exactly_that(
    base: Path, uneven: Path, max_kl: str, expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    merged = _auto(base, out, uneven, "--max-kl", max_kl)
    assert _choices(merged) == expected
    assert merged["kl"] <= float(max_kl) == merged["max_kl"]
    assert (merged["kl"] == 0) == (set(expected) == {"factored"})
    assert all(item["reason"] for item in merged["layers"].values())
    np.testing.assert_allclose(load(out).logits(_IDS), _torch_logits(base, uneven, expected), atol=2e-4)
    assert main(["verify", str(out)]) == 0
    assert read_manifest(out).slots == ()
    capsys.readouterr()
    assert main(["inspect", str(out)]) == 0
    assert f"KL {merged['kl']:.4f} of at most {float(max_kl):g} nats" in capsys.readouterr().out


def _torch_logits(base: Path, adapter: Path, choices: Sequence[str]) -> np.ndarray:
    """Logits (n, vocab_size) with each layer made by hand as ``choices`` says, on the values of the int4 grid."""
    checkpoint = open_checkpoint(str(base))
    grid = plan_grid(checkpoint, parse_quant("int4"))
    model = load_torch(checkpoint, grid)
    with torch.no_grad():
        for module, item in read_adapter(adapter).factors.items():
            value = grid.value(f"{module}.weight") + item.scaling * (item.b @ item.a)
            choice = choices[int(module.split(".")[2])]
            if choice != "factored":
                value = dequantize(quantize(value.astype(np.float32), QuantSpec(int(choice.removeprefix("int")))))
            model.get_submodule(module).weight.copy_(torch.from_numpy(value))
        logits: np.ndarray = model(torch.tensor([_IDS])).logits[0].numpy()
    return logits


def test_a_factored_layer_keeps_the_codes_of_the_grid(base: Path, uneven: Path) -> None:
    checkpoint = open_checkpoint(str(base))
    grid = plan_grid(checkpoint, parse_quant("int4", symmetric=False))
    factors = {name: item for name, item in read_factors(checkpoint, uneven).items() if ".layers.1." in name}
    merged = plan_grid(MergedCheckpoint(checkpoint, factors, grid), grid.plan)
    for name, matrix in grid.matrices.items():
        if name not in factors:
            assert merged.matrices[name] is matrix
    assert any(merged.matrices[name] is not grid.matrices[name] for name in factors)


def test_the_kl_of_a_merge_is_that_of_the_whole_distribution(base: Path, uneven: Path) -> None:
    checkpoint = open_checkpoint(str(base))
    grid = plan_grid(checkpoint, parse_quant("int4"))
    factors = read_factors(checkpoint, uneven)
    by_module = {name.removesuffix(".weight"): item for name, item in factors.items()}
    coarse = plan_grid(MergedCheckpoint(checkpoint, factors, grid), grid.plan)
    measure = MergeKl(grid, by_module, [_IDS, _IDS[:4]])
    name = "model.layers.0.mlp.up_proj.weight"
    assert measure({}) == 0
    alone, both = measure({name: coarse}), measure(dict.fromkeys(factors, coarse))
    assert 0 < alone < both
    assert measure({name: coarse}) == alone  # the others were put back
    probabilities = [_softmax(_torch_logits(base, uneven, choices)) for choices in (["factored"] * 2, ["int4"] * 2)]
    exact = float(np.mean(np.sum(probabilities[0] * np.log(probabilities[0] / probabilities[1]), axis=-1)))
    assert MergeKl(grid, by_module, [_IDS])(dict.fromkeys(factors, coarse)) == pytest.approx(exact, rel=1e-3)


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp((logits - logits.max(axis=-1, keepdims=True)).astype(np.float64))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def test_weights_that_are_stored_transposed_are_merged_and_kept_alike(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=259, n_embd=64, n_layer=2, n_head=4, n_positions=128, initializer_range=0.2, eos_token_id=258
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    rng, tensors = np.random.default_rng(4), {}
    for layer, size in enumerate((_LARGE, _SMALL)):
        for kind, out_features, in_features in (("attn.c_attn", 192, 64), ("mlp.c_proj", 64, 256)):
            name = f"base_model.model.transformer.h.{layer}.{kind}"
            tensors[f"{name}.lora_A.weight"] = rng.standard_normal((_RANK, in_features)).astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = (size * rng.standard_normal((out_features, _RANK))).astype(np.float32)
    write_peft(tmp_path / "adapter", tensors, rank=_RANK, alpha=_RANK, targets=["c_attn", "mlp.c_proj"])
    for max_kl, expected in (("1e-4", ["factored", "int4"]), ("9", ["int4", "int4"])):
        out = tmp_path / max_kl
        assert _choices(_auto(tmp_path / "gpt2", out, tmp_path / "adapter", "--max-kl", max_kl)) == expected
        assert main(["verify", str(out)]) == 0


def test_budgets_bound_the_size_and_the_time(
    base: Path, uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = _auto(base, tmp_path / "large", uneven, "--budget-mb", "100", "--budget-ms", "1000")
    assert _choices(whole) == ["factored", "factored"]  # both are met as it is
    assert set(whole["ms"]) == {"factored", "int4", "int8", "chosen"}
    assert whole["mb"]["factored"] == whole["mb"]["chosen"] > whole["mb"]["int8"] > whole["mb"]["int4"]
    between = (whole["mb"]["factored"] + whole["mb"]["int4"]) / 2
    smaller = _auto(base, tmp_path / "small", uneven, "--budget-mb", str(between))
    assert _choices(smaller) != ["factored", "factored"]
    files = read_manifest(tmp_path / "small").files
    assert files["decoder.onnx"].bytes + files["weights.bin"].bytes <= 1e6 * between
    assert "ms" not in smaller
    capsys.readouterr()
    options = ("--merge-policy", "auto", "--budget-mb", "0.01", "--budget-ms", "0.001")
    assert _export(base, tmp_path / "never", uneven, *options) == 2
    said = _error(capsys)
    assert "meets --budget-mb 0.01: reached 0." in said
    assert "and --budget-ms 0.001: reached" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large", "small"]


def test_an_adapter_of_this_grid_is_taken_and_one_of_another_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = _layered(tmp_path / "trained", [_LARGE, _SMALL])
    grid = plan_grid(open_checkpoint(str(base)), parse_quant("int4"))
    write_receipt(adapter, Receipt("base", grid.base_fingerprint, grid.fingerprint, grid.record()))
    assert _choices(_auto(base, tmp_path / "a", adapter)) == ["int8", "int4"]
    capsys.readouterr()
    assert _export(base, tmp_path / "b", adapter, "--merge-policy", "auto", "--quant", "int8") == 2
    assert "trained on grid" in _error(capsys)
    # All of it goes onto the values that it was trained on, whatever bits the sum is rounded to.
    assert _export(base, tmp_path / "b", adapter, "--quant", "int8", "--accept-lossy-merge") == 0
    found = load(tmp_path / "b").logits(_IDS)
    np.testing.assert_allclose(found, _torch_logits(base, adapter, ["int8", "int8"]), atol=2e-4)


def test_layers_kept_factored_ship_the_codes_of_a_grid_file(base: Path, uneven: Path, tmp_path: Path) -> None:
    grid = plan_grid(open_checkpoint(str(base)), parse_quant("int4", 16))
    write_grid(tmp_path / "grid.safetensors", grid)
    merged = _auto(base, tmp_path / "a", uneven, "--quant", str(tmp_path / "grid.safetensors"), "--max-kl", "1e-9")
    assert _choices(merged) == ["factored", "factored"]
    manifest = read_manifest(tmp_path / "a")
    assert manifest.base.grid == grid.fingerprint
    assert manifest.quantization["block_size"] == 16
    assert main(["verify", str(tmp_path / "a")]) == 0


def test_kl_is_measured_on_the_rows_of_a_file(base: Path, uneven: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"row {i}", "completion": "x" * 90}) + "\n" for i in range(20)))
    prompts = read_kl_prompts(open_checkpoint(str(base)), rows)
    assert 1 < len(prompts) < 20
    assert sum(map(len, prompts)) <= 512
    here, probes = (
        _auto(base, tmp_path / name, uneven, "--max-kl", "9", *more)
        for name, more in (("rows", ["--calibration", str(rows)]), ("probes", []))
    )
    assert here["kl"] != probes["kl"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--merge-policy", "some"], "--merge-policy is 'some'; choose one of all, auto"),
        (["--merge-policy", "auto", "--quant", "none"], "auto weighs bits, and --quant none has none"),
        (["--merge-policy", "auto", "--accept-lossy-merge"], "loses no more than --max-kl"),
        (["--merge-policy", "auto", "--max-kl", "-1"], "--max-kl is -1.0, expected a number from 0"),
        (["--max-kl", "1"], "--max-kl and --budget-ms belong to --merge-policy auto"),
    ],
)
def test_options_that_cannot_work_end_in_one_line(
    base: Path, uneven: Path, options: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _export(base, tmp_path / "a", uneven, *options) == 2
    assert line in _error(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_policy_needs_an_adapter_to_merge(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(base), "-o", str(tmp_path / "a"), "--merge-policy", "auto"]) == 2
    assert "say how to --merge ADAPTER_DIR" in _error(capsys)
