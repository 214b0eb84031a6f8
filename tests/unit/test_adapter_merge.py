import dataclasses
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import numpy as np
import peft
import pytest
from transformers import AutoModelForCausalLM

import edgelora
from edgelora.adapter.lineage import split_weight
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import AdapterError, ConfigError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.training.finish_receipt import make_receipt
from edgelora_runtime import load
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.manifest import HeadInfo, file_info
from edgelora_runtime.receipt import Receipt, read_receipt, write_receipt
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
from tests.tiny import TARGETS, write_adapter

Call = Callable[..., tuple[int, str, str]]
GRID = functools.partial(plan_grid, plan=parse_quant("int4"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> dict[str, Path]:
    """Two adapters of the tiny base with their receipts; the second has fewer modules."""
    folder, checkpoint = tmp_path_factory.mktemp("measured"), open_checkpoint(str(tiny_checkpoint))
    found = {
        "law": write_adapter(folder / "law", rank=4, seed=41, size=0.05),
        "food": write_adapter(folder / "food", rank=2, seed=42, size=0.05, targets=TARGETS[:4]),
    }
    for adapter in found.values():
        make_receipt(checkpoint, adapter, GRID)
    return found


@pytest.fixture
def parents(measured: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Copies that a test may change."""
    return {name: Path(shutil.copytree(folder, tmp_path / name)) for name, folder in measured.items()}


def receipt_of(folder: Path) -> Receipt:
    found = read_receipt(folder)
    assert found is not None
    return found


def refused(found: tuple[int, str, str], out: Path, *parts: str) -> None:
    code, said, err = found
    assert (code, said, err.count("\n")) == (2, "", 1), err
    for part in parts:
        assert part in err
    assert not out.exists()


def test_the_command_writes_an_adapter_whose_receipt_names_its_parents(
    call: Call, measured: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "both"
    code, said, err = call("merge", f"{measured['law']}:0.6", f"{measured['food']}:-0.3", "--method", "dare_ties_svd",
                           "--density", 0.5, "--seed", 3, "-o", out, "--json")  # fmt: skip
    assert (code, err) == (0, "")
    told, receipt, law = json.loads(said), receipt_of(out), receipt_of(measured["law"])
    assert (told["method"], told["modules"], told["rank"]) == ("dare_ties_svd", 14, 4)
    assert receipt.parents is not None
    assert {key: receipt.parents[key] for key in ("method", "density", "seed", "rank", "majority_sign_method")} == {
        "method": "dare_ties_svd", "density": 0.5, "seed": 3, "rank": None, "majority_sign_method": None,
    }  # fmt: skip
    assert (
        receipt.parents["adapters"]
        == told["parents"]
        == [
            {
                "name": name,
                "weight": weight,
                "weights": file_info(measured[name] / "adapter_model.safetensors").sha256,
                "receipt": file_info(measured[name] / "receipt.json").sha256,
            }
            for name, weight in (("law", 0.6), ("food", -0.3))
        ]
    )
    assert receipt.weights == file_info(out / "adapter_model.safetensors").sha256
    same = ("name", "fingerprint", "grid", "quantization", "tokenizer", "chat_template")
    assert [getattr(receipt, key) for key in same] == [getattr(law, key) for key in same]
    assert receipt.modules is not None
    assert (receipt.modules.matched, receipt.modules.missing, receipt.probes) == (14, (), ())
    page = (out / "receipt.md").read_text()
    assert "- merged by dare_ties_svd, density 0.5, seed 3\n" in page
    assert "- food, weight -0.3, factors `" in page
    card = huggingface_hub.ModelCard.load(out / "README.md")
    assert (card.data.library_name, card.data.tags) == ("peft", ["lora", "edgelora"])
    assert "- law, weight 0.6, factors `" in card.text
    again = tmp_path / "again"
    assert call("merge", f"{measured['law']}:0.6", f"{measured['food']}:-0.3", "--method", "dare_ties_svd",
                "--density", 0.5, "--seed", 3, "-o", again)[0] == 0  # fmt: skip
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in out.iterdir()
    }


def test_python_peft_and_an_artifact_take_what_was_merged(
    measured: dict[str, Path], tiny_checkpoint: Path, artifact: Path, tmp_path: Path
) -> None:
    result = edgelora.merge_adapters(
        [(measured["law"], 0.6), (str(measured["food"]), 0.5)], tmp_path / "both", edgelora.MergeOptions("cat")
    )
    assert (result.rank, result.modules, result.has_receipt) == (6, 14, True)
    assert result.relative_error < 1e-6
    read = read_adapter(result.adapter)
    assert {item.a.shape[0] for item in read.factors.values()} == {4, 6}
    wrapped = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_checkpoint), str(result.adapter))
    layers = dict(wrapped.base_model.model.named_modules())
    one, other = (read_adapter(measured[name]).factors for name in ("law", "food"))
    for module, item in one.items():
        expected = 0.6 * item.delta() + (0.5 * other[module].delta() if module in other else 0)
        delta = layers[module].get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(delta, expected, atol=1e-5)
    for name in ("law", "food"):
        edgelora.add_adapter(artifact, name, measured[name])
    edgelora.add_adapter(artifact, "both", result.adapter)
    model = load(artifact)
    blended, merged = (model.logits([1, 2, 3], adapter=spec) for spec in ("law:0.6+food:0.5", "both"))
    np.testing.assert_allclose(merged, blended, atol=2e-3)


def test_a_receipt_that_is_measured_keeps_the_parents(
    call: Call, measured: dict[str, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "both"
    assert call("merge", measured["law"], measured["food"], "-o", out)[0] == 0
    before = receipt_of(out)
    make_receipt(open_checkpoint(str(tiny_checkpoint)), out, GRID)
    after = receipt_of(out)
    assert after.parents == before.parents
    assert len(after.probes) == 3


def test_adapters_without_receipts_give_one_without(call: Call, parents: dict[str, Path], tmp_path: Path) -> None:
    (parents["food"] / "receipt.json").unlink()
    out = tmp_path / "one"
    assert call("merge", parents["law"], parents["food"], "-o", out)[2] == ""
    found = receipt_of(out)
    assert found.grid == receipt_of(parents["law"]).grid  # it fits no other than its one known parent
    assert [item["receipt"] is None for item in (found.parents or {})["adapters"]] == [False, True]
    (parents["law"] / "receipt.json").unlink()
    out = tmp_path / "none"
    code, said, err = call("merge", parents["law"], parents["food"], "-o", out)
    assert (code, err.count("\n")) == (0, 1)
    assert "1 law + 1 food by svd, rank 4 in 14 modules" in said
    assert f"no parent has a receipt, so {out} has none" in err
    assert read_receipt(out) is None
    assert "- food, weight 1, factors `" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"fingerprint": "ab" * 32}, "law and food were trained for other bases: tiny-llama ("),
        ({"grid": "cd" * 32}, "law and food were trained on other grids: "),
        ({"grid": None}, "the float weights; train them with the same --quant"),
        ({"tokenizer": "ef" * 32}, "were trained with other tokenizers"),
        ({"chat_template": "ef" * 32}, "were trained with other chat templates"),
    ],
)
def test_parents_of_other_bases_are_refused(
    call: Call, parents: dict[str, Path], tmp_path: Path, change: dict[str, str], line: str
) -> None:
    write_receipt(parents["food"], dataclasses.replace(receipt_of(parents["food"]), **change))
    refused(call("merge", parents["law"], parents["food"], "-o", tmp_path / "out"), tmp_path / "out", line)


def test_parents_that_saw_other_prompts_are_refused(call: Call, parents: dict[str, Path], tmp_path: Path) -> None:
    for name, raw in (("law", False), ("food", True)):
        write_receipt(parents[name], dataclasses.replace(receipt_of(parents[name]), training={"raw": raw}))
    told = call("merge", parents["law"], parents["food"], "-o", tmp_path / "out")
    refused(told, tmp_path / "out", "law and food were trained with another raw: False and True")


def test_factors_that_are_not_the_receipts_are_refused(call: Call, parents: dict[str, Path], tmp_path: Path) -> None:
    path = parents["law"] / "adapter_model.safetensors"
    write_safetensors(path, {key: 2 * value for key, value in read_safetensors(path).items()})
    told = call("merge", parents["law"], parents["food"], "-o", tmp_path / "out")
    refused(told, tmp_path / "out", "the receipt belongs to other factors")


def with_head(folder: Path, labels: tuple[str, ...], value: float, temperature: float) -> Path:
    path = folder / "adapter_model.safetensors"
    head = {"base_model.model.score.weight": np.full((len(labels), 64), value, np.float32)}
    write_safetensors(path, {**read_safetensors(path), **head})
    config = json.loads((folder / "adapter_config.json").read_text())
    text = json.dumps({**config, "modules_to_save": ["score"], "task_type": "SEQ_CLS"})
    (folder / "adapter_config.json").write_text(text)
    receipt = dataclasses.replace(
        receipt_of(folder), weights=file_info(path).sha256, head=HeadInfo(labels, temperature=temperature)
    )
    write_receipt(folder, receipt)
    return folder


def test_heads_are_averaged_for_the_same_labels_alone(call: Call, parents: dict[str, Path], tmp_path: Path) -> None:
    law, food = with_head(parents["law"], ("a", "b"), 1.0, 0.8), with_head(parents["food"], ("a", "b"), 4.0, 2.0)
    out = tmp_path / "out"
    assert call("merge", f"{law}:1", f"{food}:0.5", "-o", out)[0] == 0
    np.testing.assert_allclose(read_adapter(out, with_head=True).head["score.weight"], 2.0)
    head = receipt_of(out).head
    assert head is not None
    assert (head.labels, head.temperature) == (("a", "b"), pytest.approx(1.2))
    write_receipt(food, dataclasses.replace(receipt_of(food), head=HeadInfo(("b", "a"))))
    other = tmp_path / "other"
    refused(call("merge", law, food, "-o", other), other, "have heads for other labels: a, b and b, a")
    kinds = HeadInfo(("a", "b"), "multi_label_classification")
    write_receipt(food, dataclasses.replace(receipt_of(food), head=kinds))
    refused(call("merge", law, food, "-o", other), other, "have heads for other problems: single_label_classification")
    (food / "receipt.json").unlink()
    refused(call("merge", law, food, "-o", other), other, "food does not say what its head answers")


def test_a_place_that_is_taken_or_inside_an_artifact_is_refused(
    call: Call, measured: dict[str, Path], artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    assert "exists; choose another folder" in call("merge", measured["law"], "-o", tmp_path / "out")[2]
    inside = artifact / "adapters" / "new"
    refused(call("merge", measured["law"], "-o", inside), inside, "is inside the artifact")
    with pytest.raises(ConfigError, match="is inside the artifact"):
        edgelora.merge_adapters([(measured["law"], 1.0)], inside)
    with pytest.raises(AdapterError, match=r"has no adapter_config\.json"):
        edgelora.merge_adapters([(tmp_path / "nowhere", 1.0)], tmp_path / "new")


def test_tasks_that_differ_are_refused(call: Call, parents: dict[str, Path], tmp_path: Path) -> None:
    for name, kind in (("law", "CAUSAL_LM"), ("food", "SEQ_CLS")):
        path = parents[name] / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "task_type": kind}))
    told = call("merge", parents["law"], parents["food"], "-o", tmp_path / "out")
    refused(told, tmp_path / "out", "law and food have another task_type: CAUSAL_LM and SEQ_CLS")


def test_activated_adapters_are_merged_with_their_like_alone(call: Call, tmp_path: Path) -> None:
    one, other, third = (
        write_adapter(tmp_path / name, seed=seed, invocation=ids)
        for name, seed, ids in (("one", 1, (257, 64)), ("other", 2, (257, 64)), ("third", 3, (65,)))
    )
    plain, out = write_adapter(tmp_path / "plain", seed=4), tmp_path / "out"
    for stranger, told in ((plain, "the start"), (third, "65")):
        found = call("merge", one, stranger, "-o", out)
        refused(found, out, "act from other token ids on", "257, 64", told)
    assert call("merge", one, other, "-o", out)[0] == 0
    assert read_adapter(out).invocation == (257, 64)


def test_weights_are_read_off_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd:2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert split_weight("a/b") == (Path("a/b"), 1.0)
    assert split_weight("a/b:0.5") == (Path("a/b"), 0.5)
    assert split_weight("a:-.3e1") == (Path("a"), -3.0)
    assert split_weight("odd:2") == (Path("odd:2"), 1.0)
    assert split_weight("odd:2:0.5") == (Path("odd:2"), 0.5)
    for text in ("a:", ":0.5", "a:x", "a:nan", "a:1e999"):
        with pytest.raises(ConfigError, match="expected ADAPTER_DIR or ADAPTER_DIR:WEIGHT"):
            split_weight(text)
