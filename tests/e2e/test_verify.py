"""``edgelora verify`` on what an export can write: what is right passes however it rounds, what is wrong fails."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from edgelora.artifact.rounding import Figures, Spread, Tally
from edgelora.artifact.verify import Rounding, check_rounding
from edgelora.cli import main
from edgelora_runtime.manifest import file_info
from tests.tiny import write_adapter, write_checkpoint

FORMS = {
    "int4": [],
    "int8": ["--quant", "int8"],
    "int2": ["--quant", "int2"],
    "asymmetric": ["--asymmetric"],
    "float": ["--quant", "none"],
    "half": ["--quant", "fp16"],
    "exact": ["--accuracy-level", "0"],
    "wasm": ["--target", "web-wasm"],
    "wasm, exact": ["--target", "web-wasm", "--accuracy-level", "0"],
    "cache": ["--kv-cache", "int8"],
    "wasm, cache": ["--target", "web-wasm", "--kv-cache", "int8"],
}
UNROUNDED = {"float", "half", "exact", "wasm, exact"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("verify") / "base"))


def verify(artifact: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["verify", str(artifact), "--json"])
    return code, json.loads(capsys.readouterr().out)


def failed(report: dict[str, Any]) -> list[str]:
    return [check["name"] for check in report["checks"] if not check["passed"]]


def swap_scales(artifact: Path) -> None:
    """Exchange the scales of rows of q and k in one layer, and let the manifest name what is then there."""
    graph = onnx.load(artifact / "decoder.onnx", load_external_data=False).graph
    wanted = ("scales", "steps", "transposed")
    (found,) = [
        item
        for item in graph.initializer
        if "layers.0" in item.name and "q_proj" in item.name and any(word in item.name for word in wanted)
    ]
    place = {entry.key: entry.value for entry in found.external_data}
    offset, length = int(place["offset"]), int(place["length"])
    weights = artifact / "weights.bin"
    content = np.fromfile(weights, np.uint8)
    tensor = content[offset : offset + length].view(onnx.helper.tensor_dtype_to_np_dtype(found.data_type))
    rows = tensor.reshape(list(found.dims))
    if found.dims[0] == 64:  # (in_features, out_features): columns are what a row is elsewhere
        rows = rows.T
    rows[:32], rows[64:96] = rows[64:96].copy(), rows[:32].copy()
    content.tofile(weights)
    manifest = json.loads((artifact / "manifest.json").read_text())
    info = file_info(weights)
    manifest["files"]["weights.bin"] = {"bytes": info.bytes, "sha256": info.sha256}
    (artifact / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("form", FORMS)
def test_what_export_writes_passes_and_the_same_with_swapped_scales_fails(
    base: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    assert main(["export", base, "-o", str(out), *FORMS[form]]) == 0
    code, report = verify(out, capsys)
    assert (code, failed(report)) == (0, [])
    assert report["passed"] is True
    rounding = report["rounding"]
    assert rounding["positions"] >= 500
    assert 0 <= rounding["kl_mean"] <= rounding["kl_max"] < rounding["unread_kl"]
    assert (rounding["kl_mean"] < 1e-9) == (form in UNROUNDED)
    swap_scales(out)
    code, report = verify(out, capsys)
    assert code == 1
    assert {"logits 0", "logits 1"} & set(failed(report))
    assert "files" not in failed(report)


@pytest.mark.parametrize("quant", ["none", "int4"])
def test_a_base_whose_linears_have_biases_passes(
    base: str, quant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its graph without slots may round otherwise: onnxruntime adds a bias within the product there."""
    folder = shutil.copytree(base, tmp_path / "base")
    config = LlamaConfig.from_pretrained(folder, attention_bias=True, mlp_bias=True)
    model = LlamaForCausalLM.from_pretrained(folder, config=config)
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0, 0.5)
    model.save_pretrained(folder)
    out = tmp_path / "a"
    assert main(["export", str(folder), "-o", str(out), "--quant", quant]) == 0
    code, report = verify(out, capsys)
    assert (code, failed(report)) == (0, [])
    (twin,) = [check["detail"] for check in report["checks"] if check["name"] == "twin"]
    assert "bit for bit" in twin or "differs by rounding" in twin


def test_a_merged_artifact_is_held_to_its_own_base(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = write_adapter(tmp_path / "adapter", size=0.5)
    for policy in (["--accept-lossy-merge"], ["--merge-policy", "auto", "--max-kl", "0.05"]):
        out = tmp_path / policy[0].strip("-")
        assert main(["export", base, "-o", str(out), "--merge", str(adapter), *policy]) == 0
        assert verify(out, capsys)[0] == 0


def test_an_adapter_that_does_nothing_still_fails(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    adapter = write_adapter(tmp_path / "adapter")
    assert main(["export", base, "-o", str(out), "--adapter", f"x={adapter}"]) == 0
    code, report = verify(out, capsys)
    assert code == 0
    assert [check["name"] for check in report["checks"]][-3:] == ["adapter x", "none after x", "x:0 after x"]


def test_figures_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(7, 11)).astype(np.float32)
    found = exact.copy()
    found[3] = np.roll(found[3], 1)
    tally = Tally()
    tally.add(exact[:2], found[:2])
    tally.add(exact[2:], found[2:])
    p, q = (np.exp(item) / np.exp(item).sum(-1, keepdims=True) for item in (exact.astype(float), found.astype(float)))
    kl = (p * np.log(p / q)).sum(-1)
    figures = tally.figures()
    assert (figures.positions, figures.top1_agreement) == (7, 6 / 7)
    assert figures.kl_mean == pytest.approx(kl.mean(), abs=1e-6)
    assert figures.kl_max == pytest.approx(kl.max(), abs=1e-5)
    assert figures.largest_difference == pytest.approx(np.abs(exact - found).max() / np.abs(exact).max(), rel=1e-5)
    spread = Spread()
    spread.add(exact)
    assert spread.mean_kl() == pytest.approx((p * np.log(p / p.mean(0))).sum(-1).mean(), abs=1e-6)


def test_only_an_artifact_that_knows_nothing_of_its_text_is_refused() -> None:
    def rounding(kl: float) -> Rounding:
        return Rounding(Figures(600, kl, 9.0, 0.1, 0.8), unread_kl=3.0)

    assert check_rounding(rounding(2.9), is_rounded=True).passed
    refused = check_rounding(rounding(3.1), is_rounded=True)
    assert not refused.passed
    assert "nothing is left of the model" in refused.detail
    assert not check_rounding(rounding(2.9), is_rounded=False).passed, "nothing may differ where nothing is rounded"
