import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from edgelora.adapter.page import page_lines
from edgelora.adapter.receipt import count_modules, energy_curve
from edgelora.adapter.spectrum import find_spectrum
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.errors import AdapterError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora.training.finish_receipt import make_receipt
from edgelora_runtime.adapter import Adapter, Factors, fit_adapter, read_adapter
from edgelora_runtime.manifest import file_info, read_manifest
from edgelora_runtime.receipt import Receipt, read_receipt, write_receipt
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
from tests.tiny import write_adapter

GRID = functools.partial(plan_grid, plan=parse_quant("int4"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    folder = write_adapter(tmp_path_factory.mktemp("a") / "a", rank=4)
    make_receipt(open_checkpoint(str(tiny_checkpoint)), folder, GRID)
    return folder


def receipt_of(folder: Path) -> Receipt:
    found = read_receipt(folder)
    assert found is not None
    return found


def test_a_receipt_says_what_is_there(measured: Path, tiny_checkpoint: Path) -> None:
    receipt, checkpoint = receipt_of(measured), open_checkpoint(str(tiny_checkpoint))
    grid = GRID(checkpoint)
    assert (receipt.fingerprint, receipt.grid) == (grid.base_fingerprint, grid.fingerprint)
    assert receipt.tokenizer == file_info(tiny_checkpoint / "tokenizer.json").sha256
    assert receipt.chat_template == file_info(tiny_checkpoint / "chat_template.jinja").sha256
    assert receipt.weights == file_info(measured / "adapter_model.safetensors").sha256
    assert receipt.modules is not None
    assert (receipt.modules.matched, receipt.modules.expected, receipt.modules.missing) == (14, 14, ())
    assert receipt.merge == {"bits": 4, "block_size": 32, "symmetric": True}
    assert receipt.layers.keys() == read_adapter(measured).factors.keys()
    for layer in receipt.layers.values():
        assert layer.rank == 4
        assert 1 <= layer.effective_rank <= 4
        assert list(layer.energy) == ["1", "2", "4"]
        assert layer.energy["1"] < layer.energy["2"] < layer.energy["4"] == 1
        assert layer.step_to_delta is not None
        assert layer.codes_changed is not None
        assert 0 < layer.codes_changed <= 1


def test_probes_are_the_models_own_answers(measured: Path, tiny_checkpoint: Path) -> None:
    """Against a model into which the deltas are added as weights, an independent way to the same answers."""
    checkpoint = open_checkpoint(str(tiny_checkpoint))
    grid = GRID(checkpoint)
    base, adapted = load_torch(checkpoint, grid), load_torch(checkpoint, grid)
    with torch.no_grad():
        for module, item in read_adapter(measured).factors.items():
            adapted.get_submodule(module).weight += torch.from_numpy(item.scaling * item.b @ item.a)
    probes = receipt_of(measured).probes
    assert [probe.text is None for probe in probes] == [False, False, True]
    for probe in probes:
        ids = torch.tensor([probe.input_ids])
        with torch.no_grad():
            p, q = (torch.log_softmax(model(ids).logits[0, -1].double(), -1) for model in (base, adapted))
            greedy = adapted.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :].tolist()
        assert probe.kl == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-3)
        assert list(probe.greedy) == greedy
        assert len(probe.adapted.ids) == 64
        np.testing.assert_allclose(probe.adapted.logprobs, q[list(probe.adapted.ids)], atol=1e-3)
        np.testing.assert_allclose(probe.base.logprobs, p[list(probe.base.ids)], atol=1e-3)


def test_what_is_written_is_read_back(measured: Path, tmp_path: Path) -> None:
    receipt = receipt_of(measured)
    write_receipt(tmp_path, receipt)
    assert read_receipt(tmp_path) == receipt
    assert (tmp_path / "receipt.json").read_text().count("\n") < 400  # numbers of a list share a line


def test_what_a_receipt_does_not_know_is_empty(tmp_path: Path) -> None:
    little = {
        "format_version": 1,
        "base": {"name": "m", "fingerprint": "ab" * 32, "grid": None},
        "quantization": None,
        "training": {"steps": 3},
    }
    (tmp_path / "receipt.json").write_text(json.dumps(little))
    assert receipt_of(tmp_path) == Receipt("m", "ab" * 32, training={"steps": 3})


@pytest.mark.parametrize(
    "broken",
    [
        {"layers": []},
        {"probes": {}},
        {"weights": 3},
        {"layers": {"m": {"rank": 1}}},
        {"probes": [{"kl": 1}]},
        {"modules": {"matched": "x"}},
        {"format_version": 2},
        {"format_version": True},
    ],
)
def test_fields_of_another_form_are_refused(measured: Path, tmp_path: Path, broken: dict[str, object]) -> None:
    data = json.loads((measured / "receipt.json").read_text())
    (tmp_path / "receipt.json").write_text(json.dumps({**data, **broken}))
    with pytest.raises(AdapterError, match=r"receipt\.json") as caught:
        read_receipt(tmp_path)
    assert "\n" not in str(caught.value)


def test_modules_that_targets_ask_for_are_counted(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(tiny_checkpoint))
    whole = read_adapter(write_adapter(tmp_path / "a", targets=("q_proj", "up_proj")))
    half = Adapter({name: item for name, item in whole.factors.items() if "layers.0" in name}, whole.targets)
    counted = count_modules(checkpoint, half)
    assert (counted.matched, counted.expected) == (2, 4)
    assert counted.missing == ("model.layers.1.mlp.up_proj", "model.layers.1.self_attn.q_proj")


@pytest.mark.parametrize("pattern", ["(", r".*\Z", "(?i).*Q_PROJ", "(?P<n>q)", "q_proj[", "((a*)*)*b", "q*+"])
def test_patterns_that_are_pythons_alone_are_refused(tmp_path: Path, pattern: str) -> None:
    folder = write_adapter(tmp_path / "a", targets=("q_proj", "up_proj"))
    config = json.loads((folder / "adapter_config.json").read_text())
    for change in ({"target_modules": pattern}, {"rank_pattern": {pattern: 2}}, {"alpha_pattern": {pattern: 2}}):
        (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(AdapterError, match=f"{next(iter(change))}: the pattern .* cannot be used: ") as caught:
            read_adapter(folder)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("field", "value", "is_refused"),
    [
        ("target_modules", ["q_proj", "up_proj"], True),
        ("target_modules", r".*layers\.\d+\..*(q_proj|up_proj)", True),
        ("target_modules", r".*layers\.0\..*(q_proj|up_proj)", False),
        ("target_modules", ["model.layers.0.self_attn.q_proj", "layers.0.mlp.up_proj"], False),
        ("target_modules", None, False),
        ("layers_to_transform", [0], False),
        ("layers_to_transform", [0, 1], True),
        ("exclude_modules", r".*\.1\..*", False),
        ("exclude_modules", ["o_proj"], True),
    ],
)
def test_target_modules_say_what_must_be_there(
    shared_artifact: Path, tmp_path: Path, field: str, value: object, is_refused: bool
) -> None:
    folder = write_adapter(tmp_path / "a", targets=("q_proj", "up_proj"))
    tensors = read_safetensors(folder / "adapter_model.safetensors")
    kept = {name: item for name, item in tensors.items() if "layers.0." in name}
    write_safetensors(folder / "adapter_model.safetensors", kept)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, field: value}))
    slots = read_manifest(shared_artifact).slots
    if not is_refused:
        fit_adapter(read_adapter(folder), slots, "a")
        return
    with pytest.raises(AdapterError, match=r"2 of the 4 modules that its target_modules ask for"):
        fit_adapter(read_adapter(folder), slots, "a")


def test_factors_that_the_configuration_leaves_out_are_refused(shared_artifact: Path, tmp_path: Path) -> None:
    """PEFT passes over them, so that they would act here alone."""
    folder = write_adapter(tmp_path / "a", targets=("q_proj", "up_proj"))
    config = json.loads((folder / "adapter_config.json").read_text())
    slots = read_manifest(shared_artifact).slots
    told = {"exclude_modules": ["up_proj"], "layers_to_transform": [0], "target_modules": ["q_proj"]}
    for field, value in told.items():
        (folder / "adapter_config.json").write_text(json.dumps({**config, field: value}))
        with pytest.raises(AdapterError, match=r"factors for 2 modules .* does not claim: .*up_proj.*; save or copy"):
            fit_adapter(read_adapter(folder), slots, "a")


def test_the_energy_curve_ends_at_one() -> None:
    item = Factors(np.diag([3.0, 2.0, 1.0]).astype(np.float32), np.eye(3, dtype=np.float32), 1.0)
    assert energy_curve(find_spectrum(item)) == {"1": round(9 / 14, 5), "2": round(13 / 14, 5), "3": 1.0}


def test_the_page_tells_people(measured: Path) -> None:
    text = (measured / "receipt.md").read_text()
    assert text.startswith("# Adapter for tiny-llama\n")
    assert "14 of 14 modules have factors" in text
    assert "| q_proj | 2 | 4 |" in text
    assert "Name three colours of the rainbow." in text
    ids = "\n".join(page_lines(receipt_of(measured)))
    assert " ".join(map(str, receipt_of(measured).probes[0].greedy)) in ids


def test_receipt_and_inspect_commands(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An adapter trained elsewhere gets a receipt; measuring again needs no options, another grid is refused."""
    folder = write_adapter(tmp_path / "a")
    assert main(["adapter", "receipt", str(tiny_checkpoint), str(folder), "--quant", "int4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((folder / "receipt.json").read_text())
    assert main(["adapter", "receipt", str(tiny_checkpoint), str(folder)]) == 0
    assert "14 of 14 modules" in capsys.readouterr().out
    assert json.loads((folder / "receipt.json").read_text()) == told
    assert main(["adapter", "receipt", str(tiny_checkpoint), str(folder), "--quant", "int8"]) == 2
    assert "use the --quant and --block-size of its training" in capsys.readouterr().err
    assert main(["inspect", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "KL between base and adapted on 3 probes" in shown
    assert "effective rank" in shown
    assert main(["inspect", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["receipt"] == told


def test_truncate_command_carries_the_receipt_over(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cut"
    assert main(["adapter", "truncate", str(measured), "-o", str(out), "--energy", "0.9", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    before, after = receipt_of(measured), receipt_of(out)
    assert after.weights == file_info(out / "adapter_model.safetensors").sha256 != before.weights
    assert after.probes == before.probes
    assert after.truncation is not None
    assert 0.9 <= after.truncation["energy_kept"] == told["energy_kept"] < 1
    assert told["bytes"] < told["bytes_before"]
    error = np.array([item["relative_error"] for item in after.truncation["modules"].values()])
    assert (error < 1).all()
    assert after.truncation["mean_rank_after"] < 4 == after.truncation["mean_rank_before"]
    assert {layer.rank for layer in after.layers.values()} <= {1, 2, 3, 4}
    assert all(layer.correlation is None for layer in after.layers.values())
    assert dataclasses.replace(after, weights=None, layers={}, truncation=None) == dataclasses.replace(
        before, weights=None, layers={}
    )
    assert "## Truncated" in (out / "receipt.md").read_text()


@pytest.mark.parametrize("options", [[], ["--energy", "0.9", "--rank", "2"], ["--budget-mb", "0.001"]])
def test_truncate_refuses_what_it_cannot_do(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["adapter", "truncate", str(measured), "-o", str(tmp_path / "cut"), *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
