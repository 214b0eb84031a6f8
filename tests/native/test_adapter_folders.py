"""The native runtime's one check of adapters against Python's, message for message."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora_runtime.errors import AdapterError
from edgelora_runtime.head import read_base_head
from edgelora_runtime.manifest import file_info, read_manifest
from edgelora_runtime.open_adapter import open_adapter
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
from tests.conformance_check import WRONG
from tests.native.asking import Readers
from tests.test_refuse import FILE, FOLDER

TINY = FOLDER / "tiny-float"
WEIGHTS, CONFIG, RECEIPT = "adapter_model.safetensors", "adapter_config.json", "receipt.json"
ARTIFACTS = sorted({path.parent for path in FOLDER.glob("*/manifest.json")} - {FOLDER / WRONG})
Change = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY / "adapters/four", tmp_path / "four"))


def digest(values: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def python_opens(folder: Path, artifact: Path, trust: bool) -> dict[str, Any]:
    manifest = read_manifest(artifact)
    try:
        base_head = read_base_head(artifact, manifest)
        adapter = open_adapter(folder, manifest, "the adapter", base_head=base_head, trust=trust)
    except AdapterError as error:
        return {"code": 3, "message": str(error)}
    factors = {
        module: [item.a.shape[0], item.scaling, digest(item.a), digest(item.b)]
        for module, item in adapter.factors.items()
    }
    return {"value": {"rank": adapter.rank, "factors": factors, "notes": list(adapter.notes)}}


def both(readers: Readers, folder: Path, artifact: Path = TINY, trust: bool = False) -> dict[str, Any]:
    """What both make of a folder, which must be the same."""
    found = readers.ask("adapter", folder=folder, artifact=artifact, trust=trust)
    assert found == python_opens(folder, artifact, trust)
    return found


def change_tensors(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tensors = read_safetensors(folder / WEIGHTS)
    change(tensors)
    write_safetensors(folder / WEIGHTS, tensors)


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def first(tensors: dict[str, Any], side: str = "A") -> str:
    return next(name for name in tensors if f"lora_{side}" in name)


def store_as(dtype: str) -> Change:
    """The same numbers in another type, which numpy does not have where it is bfloat16, at an odd place of the file."""

    def change(folder: Path) -> None:
        header: dict[str, Any] = {}
        data = b""
        for name, array in read_safetensors(folder / WEIGHTS).items():
            if dtype == "BF16":
                piece = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16).tobytes()
            else:
                piece = array.astype({"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]).tobytes()
            place = [len(data), len(data) + len(piece)]
            header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": place}
            data += piece
        text = json.dumps(header).encode()
        text += b" " * (1 - len(text) % 2)
        (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data)

    return change


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda path: path.name)
def test_every_adapter_of_an_artifact_is_read_alike(readers: Readers, artifact: Path) -> None:
    for info in read_manifest(artifact).adapters:
        found = both(readers, artifact / info.path, artifact)
        assert found["value"]["rank"] == info.rank


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64", "F32"])
def test_factors_of_any_type_at_any_place_are_the_same_numbers(readers: Readers, folder: Path, dtype: str) -> None:
    store_as(dtype)(folder)
    assert "value" in both(readers, folder)


@pytest.mark.parametrize(
    "change",
    [
        {"use_rslora": True},
        {"lora_alpha": 0.5},
        {"rank_pattern": {"nothing": 7}, "alpha_pattern": {r"layers\.1\..*": 3, "q_proj": 5.5}},
        {"target_modules": None},
        {"target_modules": r".*\.(q|k|v|o|gate|up|down)_proj"},
        {"exclude_modules": ["lm_head"], "layers_to_transform": [0, 1], "layers_pattern": "layers"},
        {"init_lora_weights": "EVA", "peft_version": "9.9", "auto_mapping": {"a": 1}},
        {"use_later": True, 'later "config': {"a": [1]}, "nothing": None, "empty": [], "zero": 0},
    ],
    ids=str,
)
def test_what_the_configuration_says_of_a_module_is_read_alike(
    readers: Readers, folder: Path, change: dict[str, Any]
) -> None:
    change_config(folder, **change)
    assert "value" in both(readers, folder)


def test_a_base_of_another_name_is_a_note_where_no_receipt_says_more(readers: Readers, folder: Path) -> None:
    for name, is_other in FILE["base_names"].items():
        change_config(folder, base_model_name_or_path=name)
        assert bool(both(readers, folder)["value"]["notes"]) is is_other, name
        assert both(readers, folder, trust=True)["value"]["notes"] == []
    write_receipt(folder, {})
    change_config(folder, base_model_name_or_path="other")
    assert both(readers, folder)["value"]["notes"] == []


def test_a_source_of_another_name_is_known(readers: Readers, folder: Path, tmp_path: Path) -> None:
    artifact = Path(shutil.copytree(TINY, tmp_path / "inside"))
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["base"]["source"] = "org/other@main"
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    change_config(folder, base_model_name_or_path="/models/other")
    assert both(readers, folder, artifact)["value"]["notes"] == []
    change_config(folder, base_model_name_or_path="/models/third")
    assert len(both(readers, folder, artifact)["value"]["notes"]) == 1


def test_a_tensor_under_two_names_is_a_note_where_both_are_equal(readers: Readers, folder: Path) -> None:
    put_first(lambda item: item, "model.layers.0.mlp.down_proj.lora_A.weight")(folder)
    change_config(folder, use_later=True)
    assert both(readers, folder)["value"]["notes"] == [
        "model.layers.0.mlp.down_proj has lora_A twice, under two names",
        "adapter_config.json has 'use_later', which this release does not know and leaves unread",
    ]


def set_first(value: Any) -> Change:
    def change(folder: Path) -> None:
        change_tensors(folder, lambda tensors: tensors[first(tensors)].__setitem__((0, 0), value))

    return change


def put_first(make: Callable[[Any], Any], name: str | None = None) -> Change:
    def change(folder: Path) -> None:
        change_tensors(folder, lambda tensors: tensors.update({name or first(tensors): make(tensors[first(tensors)])}))

    return change


def rename(old: str, new: str, count: int = 10**6) -> Change:
    def change(folder: Path) -> None:
        def apply(tensors: dict[str, Any]) -> None:
            for name in [name for name in tensors if old in name][:count]:
                tensors[name.replace(old, new)] = tensors.pop(name)

        change_tensors(folder, apply)

    return change


def drop(part: str) -> Change:
    return lambda folder: change_tensors(
        folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if part in name]
    )


def scale(factor: float) -> Change:
    return lambda folder: change_tensors(
        folder, lambda tensors: tensors.update({name: item * np.float32(factor) for name, item in tensors.items()})
    )


def config(**fields: Any) -> Change:
    return lambda folder: change_config(folder, **fields)


REFUSED: dict[str, Change] = {
    "no folder": shutil.rmtree,
    "no configuration": lambda folder: (folder / CONFIG).unlink(),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "weights are a folder": lambda folder: ((folder / WEIGHTS).unlink(), (folder / WEIGHTS).mkdir()),
    "empty weights": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "truncated": lambda folder: os.truncate(folder / WEIGHTS, 5000),
    "longer": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"x"),
    "no tensors": drop("lora"),
    "another method": config(peft_type="LOHA"),
    "not a number": set_first(np.nan),
    "infinite": set_first(-np.inf),
    "beyond float32": put_first(lambda item: item.astype(np.float64) + 1e300),
    "no factor": put_first(lambda item: item, "base_model.model.x.weight"),
    "no module": put_first(lambda item: item, ".lora_A.weight"),
    "no A": drop("layers.0.self_attn.q_proj.lora_A"),
    "no B": drop("layers.1.mlp.up_proj.lora_B"),
    "half of the modules": drop("layers.0"),
    "another rank": config(r=5),
    "another rank of some": config(rank_pattern={"q_proj": 3}),
    "too many ranks": config(rank_pattern={f"m{number}": 4 for number in range(4097)}),
    "more targets": lambda folder: (config(target_modules=["q_proj", "v_proj"])(folder), drop("layers.1.")(folder)),
    "a pattern for more": lambda folder: (config(target_modules=r".*_proj")(folder), drop("k_proj")(folder)),
    "a layer that lacks some": lambda folder: (config(layers_to_transform=[0])(folder), drop("q_proj")(folder)),
    "another layer": config(layers_to_transform=0, layers_pattern=["layers"]),
    "more than is left": config(exclude_modules=r".*\.1\..*"),
    "unknown modules": rename("layers.1.", "layers.7."),
    "all unknown": rename("model.layers", "transformer.h"),
    "another size": put_first(lambda item: np.concatenate([item, item], axis=1)),
    "nothing": scale(0),
    "next to nothing": scale(1e-6),
    "twice": put_first(lambda item: item, "base_model.model.model.layers.0.mlp.up_proj.lora_A.default.weight"),
    "twice, of one size": put_first(lambda item: item + 1, "model.layers.0.mlp.down_proj.lora_A.weight"),
    "a start of later days": config(init_lora_weights="piecewise"),
    "a pickle": lambda folder: (folder / WEIGHTS).rename(folder / "adapter_model.bin"),
}  # fmt: skip
# The words for types and shapes are each language's own.
REFUSED_IN_OTHER_WORDS: dict[str, Change] = {
    "whole numbers": put_first(lambda item: item.astype(np.int32)),
    "three dimensions": put_first(lambda item: item[None]),
    "no numbers": put_first(lambda item: item[:0]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_does_not_fit_is_refused_in_the_same_words(readers: Readers, folder: Path, name: str) -> None:
    REFUSED[name](folder)
    assert "message" in both(readers, folder)


@pytest.mark.parametrize("name", REFUSED_IN_OTHER_WORDS)
def test_tensors_that_are_no_factors_are_refused(readers: Readers, folder: Path, name: str) -> None:
    REFUSED_IN_OTHER_WORDS[name](folder)
    assert "message" in python_opens(folder, TINY, False)
    found = readers.ask("adapter", folder=folder, artifact=TINY)
    assert found["code"] == 3
    assert "expected two dimensions of floats" in found["message"]


def write_receipt(folder: Path, base: dict[str, Any], **fields: Any) -> None:
    manifest = read_manifest(TINY)
    assert manifest.tokenizer is not None and manifest.tokenizer.chat_template is not None
    known = {
        "name": "tiny",
        "fingerprint": manifest.base.fingerprint,
        "grid": manifest.base.grid,
        "tokenizer": manifest.files[manifest.tokenizer.file].sha256,
        "chat_template": manifest.files[manifest.tokenizer.chat_template].sha256,
    }
    content = {"format_version": 1, "weights": file_info(folder / WEIGHTS).sha256, **fields, "base": known | base}
    (folder / RECEIPT).write_text(json.dumps(content))


def layers(*modules: str) -> dict[str, Any]:
    return {module: {"rank": 4, "effective_rank": 3.5, "energy": {"1": 0.5}} for module in modules}


OTHER = "0" * 64
RECEIPTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "another base": ({"fingerprint": OTHER}, {}),
    "another base without a name": ({"fingerprint": OTHER, "name": ""}, {}),
    "another grid": (
        {"grid": OTHER},
        {"quantization": {"label": "int4", "bits": 4, "method": "rtn", "symmetric": False}},
    ),
    "another grid of none": ({"grid": OTHER}, {}),
    "another tokenizer": ({"tokenizer": OTHER}, {"training": {"raw": True}}),
    "another template": ({"chat_template": OTHER}, {}),
    "other variables": ({}, {"training": {"template_variables": {"b": 1.5, "a": "ü"}}}),
    "modules without factors": ({}, {"modules": {"matched": 1, "expected": 7, "missing": list("abcdef")}}),
    "other modules": ({}, {"layers": layers("model.layers.0.self_attn.q_proj", "lost", "lost too")}),
    "modules unknown": ({}, {"layers": layers("model.layers.0.self_attn.q_proj")}),
    "other factors": ({}, {"weights": OTHER}),
    "no receipt": ({"fingerprint": "x"}, {}),
}


@pytest.mark.parametrize("name", RECEIPTS)
def test_a_receipt_of_something_else_is_refused_and_can_be_left(readers: Readers, folder: Path, name: str) -> None:
    base, fields = RECEIPTS[name]
    write_receipt(folder, base, **fields)
    assert "message" in both(readers, folder)
    assert "value" in both(readers, folder, trust=True)
    rename("layers.1.", "layers.7.")(folder)
    assert "message" in both(readers, folder)  # what does not fit is told together with the base that it was made for


def test_a_receipt_that_belongs_to_the_folder_is_accepted(readers: Readers, folder: Path) -> None:
    write_receipt(folder, {})
    assert "value" in both(readers, folder)
    write_receipt(folder, {"grid": None, "tokenizer": None})
    assert "value" in both(readers, folder)
    write_receipt(folder, {"chat_template": OTHER}, training={"raw": True, "template_variables": {"a": 1}})
    assert "value" in both(readers, folder)
