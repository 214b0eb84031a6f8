import hashlib
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelora.artifact.about import ABOUT_FILE, About
from edgelora.artifact.store import add_adapter, remove_adapter, split_assignment
from edgelora.errors import AdapterError, ArtifactError, EdgeLoraError
from edgelora_runtime import load
from edgelora_runtime.check_files import check_files
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.receipt import Receipt, write_receipt
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
from tests.tiny import TARGETS, write_adapter, write_artifact, write_peft

State = dict[str, tuple[str, int]]


def state(folder: Path) -> State:
    """Hash and time of change of every file."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def only_base(found: State) -> State:
    return {name: value for name, value in found.items() if name != "manifest.json"}


def test_adding_and_removing_touches_adapters_and_manifest_alone(
    artifact: Path, tiny_adapters: dict[str, Path]
) -> None:
    before = state(artifact)
    info = add_adapter(artifact, "wide", tiny_adapters["wide"])
    assert (info.name, info.path, info.rank) == ("wide", "adapters/wide", 64)
    after = state(artifact)
    assert set(after) - set(before) == {
        f"adapters/wide/adapter_{part}" for part in ("model.safetensors", "config.json")
    }
    assert {name: after[name] for name in only_base(before)} == only_base(before)
    manifest = read_manifest(artifact)
    assert [known.name for known in manifest.adapters] == ["usual", "one", "wide"]
    check_files(artifact, manifest)
    assert set(manifest.files) | {"manifest.json"} == set(after)

    remove_adapter(artifact, "wide")
    back = state(artifact)
    assert only_base(back) == only_base(before)
    assert back["manifest.json"][0] == before["manifest.json"][0]
    assert not (artifact / "adapters/wide").exists()


def test_an_adapter_is_introduced_by_its_folder_and_by_who_adds_it(
    artifact: Path, tiny_adapters: dict[str, Path]
) -> None:
    folder = tiny_adapters["wide"]
    assert add_adapter(artifact, "bare", folder).examples == ()
    (folder / ABOUT_FILE).write_text('{"title": "Wide é", "description": "Is wide.", "examples": ["a", "b"]}')
    add_adapter(artifact, "wide", folder, about=About(title="Broad", license="mit"))
    info = next(item for item in read_manifest(artifact).adapters if item.name == "wide")
    assert (info.title, info.description, info.examples, info.license) == ("Broad", "Is wide.", ("a", "b"), "mit")
    (folder / ABOUT_FILE).write_text('{"examples": "a"}')
    with pytest.raises(AdapterError, match=r"about\.json: examples: expected a list, found 'a'"):
        add_adapter(artifact, "other", folder)
    (folder / ABOUT_FILE).unlink()


def test_an_added_adapter_answers_as_one_loaded_from_its_folder(artifact: Path, tiny_adapters: dict[str, Path]) -> None:
    add_adapter(artifact, "wide", tiny_adapters["wide"])
    model = load(artifact)
    added = model.logits([5, 6, 7], adapter="wide")
    model.load_adapter("again", tiny_adapters["wide"])
    np.testing.assert_array_equal(model.logits([5, 6, 7], adapter="again"), added)
    assert np.abs(added - model.logits([5, 6, 7], adapter="none")).max() > 1e-3


def test_fields_of_a_later_version_survive(artifact: Path, tiny_adapters: dict[str, Path]) -> None:
    path = artifact / "manifest.json"
    data = json.loads(path.read_text())
    data["from_the_future"] = {"größe": 1}
    path.write_text(json.dumps(data))
    add_adapter(artifact, "wide", tiny_adapters["wide"])
    assert json.loads(path.read_text())["from_the_future"] == {"größe": 1}


@pytest.mark.parametrize("text", ["", "name", "name=", "=folder"])
def test_assignments_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(AdapterError, match="expected NAME=ADAPTER_DIR"):
        split_assignment(text)


def test_an_assignment_may_hold_an_equals_sign_in_its_folder() -> None:
    assert split_assignment("a.b-c_1=x=y") == ("a.b-c_1", Path("x=y"))


def refused(artifact: Path, folder: Path, match: str, kind: type[EdgeLoraError] = AdapterError) -> None:
    """The adapter is refused with this message, and the artifact stays as it was."""
    before = state(artifact)
    with pytest.raises(kind, match=match) as caught:
        add_adapter(artifact, "new", folder)
    assert "\n" not in str(caught.value)
    assert state(artifact) == before


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in read_safetensors(folder / "adapter_model.safetensors").items()}


def test_a_taken_name_is_refused(artifact: Path, tiny_adapters: dict[str, Path]) -> None:
    with pytest.raises(AdapterError, match="already has an adapter 'usual'"):
        add_adapter(artifact, "usual", tiny_adapters["usual"])


def test_an_adapter_that_matches_no_module_is_refused(artifact: Path, tmp_path: Path) -> None:
    tensors = {
        name.replace("model.layers", "decoder.blocks"): value
        for name, value in tensors_of(write_adapter(tmp_path / "a")).items()
    }
    write_peft(tmp_path / "b", tensors, rank=4, alpha=8)
    refused(artifact, tmp_path / "b", "decoder.blocks")


def test_an_adapter_that_matches_only_some_modules_is_refused_naming_them(artifact: Path, tmp_path: Path) -> None:
    tensors = tensors_of(write_adapter(tmp_path / "a"))
    for name in [name for name in tensors if "layers.1.mlp.up_proj" in name]:
        tensors[name.replace("layers.1", "layers.7")] = tensors[name]
    write_peft(tmp_path / "b", tensors, rank=4, alpha=8)
    refused(artifact, tmp_path / "b", r"layers\.7\.mlp\.up_proj")


def test_every_shape_that_differs_is_listed(artifact: Path, tmp_path: Path) -> None:
    tensors = tensors_of(write_adapter(tmp_path / "a"))
    for layer in (0, 1):
        name = f"base_model.model.model.layers.{layer}.mlp.down_proj.lora_A.weight"
        tensors[name] = np.ones((4, 95), np.float32)
    write_peft(tmp_path / "b", tensors, rank=4, alpha=8)
    refused(artifact, tmp_path / "b", r"layers\.0\.mlp\.down_proj.*layers\.1\.mlp\.down_proj")


def test_an_adapter_that_changes_nothing_is_refused(artifact: Path, tmp_path: Path) -> None:
    refused(artifact, write_adapter(tmp_path / "zero", size=0.0), "zero")
    refused(artifact, write_adapter(tmp_path / "scale", alpha=0), "zero|scaling|alpha")


def test_an_adapter_for_another_base_is_refused(artifact: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    write_receipt(folder, Receipt("other-llama", "f" * 64))
    refused(artifact, folder, "trained for another base: other-llama .*this artifact holds tiny-llama")


def test_a_foreign_base_and_wrong_shapes_are_told_together(artifact: Path, tmp_path: Path) -> None:
    tensors = tensors_of(write_adapter(tmp_path / "a"))
    tensors["base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"] = np.ones((4, 95), np.float32)
    write_peft(tmp_path / "b", tensors, rank=4, alpha=8)
    write_receipt(tmp_path / "b", Receipt("other-llama", "f" * 64))
    refused(artifact, tmp_path / "b", r"down_proj.*trained for another base")


def test_an_adapter_for_another_grid_is_refused_and_for_float_taken(artifact: Path, tmp_path: Path) -> None:
    base = read_manifest(artifact).base
    folder = write_adapter(tmp_path / "a")
    write_receipt(folder, Receipt("tiny-llama", base.fingerprint, "e" * 64, {"bits": 8, "block_size": 32}))
    refused(artifact, folder, "another grid of tiny-llama: bits 8, block_size 32 .*same --quant")
    write_receipt(folder, Receipt("tiny-llama", base.fingerprint))
    add_adapter(artifact, "floated", folder)
    write_receipt(folder, Receipt("tiny-llama", base.fingerprint, base.grid, {"bits": 4}))
    add_adapter(artifact, "snapped", folder)
    assert (artifact / "adapters/snapped/receipt.json").is_file()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format_version": 9, "base": {}}', '{"format_version": 1, "base": {}}']
)
def test_a_receipt_that_cannot_be_read_is_refused(artifact: Path, tmp_path: Path, text: str) -> None:
    folder = write_adapter(tmp_path / "a")
    (folder / "receipt.json").write_text(text)
    refused(artifact, folder, "receipt.json")


def test_a_truncated_file_is_refused(artifact: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(artifact, folder, "adapter_model.safetensors", EdgeLoraError)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [("use_dora", True, "(?i)dora"), ("modules_to_save", ["lm_head"], "modules_to_save"), ("bias", "all", "bias")],
)
def test_peft_features_that_slots_cannot_hold_are_refused(
    artifact: Path, tmp_path: Path, field: str, value: object, match: str
) -> None:
    folder = write_adapter(tmp_path / "a")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, field: value}))
    refused(artifact, folder, match)


def test_a_merged_artifact_takes_no_adapter(
    tiny_checkpoint: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    write_artifact(tiny_checkpoint, tmp_path / "merged", merge=tiny_adapters["usual"], reference=False)
    refused(tmp_path / "merged", tiny_adapters["one"], "exported without slots")


def test_a_missing_artifact_and_an_unknown_name_are_named(artifact: Path, tiny_adapters: dict[str, Path]) -> None:
    with pytest.raises(ArtifactError, match="is not a folder"):
        add_adapter(artifact / "nowhere", "a", tiny_adapters["one"])
    with pytest.raises(AdapterError, match="no adapter 'zwei'; it has: usual, one"):
        remove_adapter(artifact, "zwei")


@pytest.mark.parametrize("limit", [2_000, 40_000])
def test_a_full_disk_leaves_the_artifact_as_it_was(artifact: Path, tiny_adapters: dict[str, Path], limit: int) -> None:
    """The first limit stops the copy, the second lets the adapter through and stops no file but a longer manifest."""
    if limit > (tiny_adapters["usual"] / "adapter_model.safetensors").stat().st_size:
        path = artifact / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "padding": "x" * limit}))
    before = state(artifact)
    done = subprocess.run(
        [sys.executable, "-m", "edgelora", "adapter", "add", str(artifact), f"new={tiny_adapters['usual']}"],
        capture_output=True,
        text=True,
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert str(artifact) in done.stderr
    assert "File too large" in done.stderr
    assert state(artifact) == before


def environment() -> dict[str, str]:
    import os

    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def test_targets_cover_what_the_artifact_has_slots_for(shared_artifact: Path) -> None:
    modules = {part.module.rsplit(".", 1)[1] for slot in read_manifest(shared_artifact).slots for part in slot.parts}
    assert modules == set(TARGETS)


def test_safetensors_with_a_broken_header_are_refused(artifact: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    write_safetensors(folder / "adapter_model.safetensors", {})
    refused(artifact, folder, "adapter", EdgeLoraError)
