import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peft
import pytest
from transformers import AutoModelForCausalLM

import edgelora
from edgelora.artifact.changing import changing
from edgelora.artifact.store import add_adapter, remove_adapter
from edgelora.errors import AdapterError, ArtifactError, ConfigError
from edgelora.library.change import add as add_to_library
from edgelora_runtime import load
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.check_files import check_files
from edgelora_runtime.manifest import file_info, read_manifest
from edgelora_runtime.receipt import Receipt, read_receipt, write_receipt
from edgelora_runtime.safetensors import map_stored, read_safetensors, write_safetensors
from tests.tiny import write_adapter

Call = Callable[..., tuple[int, str, str]]
WEIGHTS = "adapter_model.safetensors"


def with_one_a(folder: Path, seed: int, rank: int = 16, start: int = 7) -> Path:
    """An adapter whose A are those of every other one that started alike."""
    write_adapter(folder, rank=rank, seed=seed, size=0.05)
    frozen = read_safetensors(write_adapter(folder.with_name(f"{folder.name}-start"), rank=rank, seed=start) / WEIGHTS)
    own = read_safetensors(folder / WEIGHTS)
    write_safetensors(folder / WEIGHTS, {key: frozen[key] if ".lora_A." in key else own[key] for key in own})
    return folder


@pytest.fixture
def tenants(tmp_path: Path) -> list[Path]:
    return [with_one_a(tmp_path / name, seed) for seed, name in enumerate(("ann", "bob", "cid"))]


def shared_files(artifact: Path) -> list[str]:
    return sorted(path.name for path in (artifact / "adapters").iterdir() if path.is_file())


def same_factors(one: Path, other: Path) -> None:
    first, second = read_adapter(one, with_head=True), read_adapter(other, with_head=True)
    assert first.factors.keys() == second.factors.keys()
    for module, item in first.factors.items():
        np.testing.assert_array_equal(item.a, second.factors[module].a)
        np.testing.assert_array_equal(item.b, second.factors[module].b)
        assert item.scaling == second.factors[module].scaling


def test_two_adapters_with_one_a_store_it_once_and_answer_the_same(artifact: Path, tenants: list[Path]) -> None:
    for folder in tenants:
        add_adapter(artifact, f"plain-{folder.name}", folder)
        assert add_adapter(artifact, folder.name, folder, share="a").shared is not None
    manifest = read_manifest(artifact)
    check_files(artifact, manifest)
    (name,) = shared_files(artifact)
    assert {info.shared for info in manifest.adapters} == {None, name.removesuffix(".safetensors")}
    a_bytes = sum(len(t.data) for key, t in map_stored(tenants[0] / WEIGHTS).items() if ".lora_A." in key)
    assert manifest.files[f"adapters/{name}"].bytes < a_bytes + 3000
    for folder in tenants:
        plain, own = (manifest.files[f"adapters/{p}{folder.name}/{WEIGHTS}"].bytes for p in ("plain-", ""))
        assert own < plain - a_bytes + 1500
        same_factors(artifact / "adapters" / folder.name, folder)
    model = load(artifact)
    for ids in ([1, 2, 3], [200]):
        for term, plain in (("ann", "plain-ann"), ("bob:0.5+cid", "plain-bob:0.5+plain-cid")):
            np.testing.assert_array_equal(model.logits(ids, adapter=term), model.logits(ids, adapter=plain))


def test_the_shared_file_goes_with_the_last_that_has_it(artifact: Path, tenants: list[Path]) -> None:
    before = (artifact / "manifest.json").read_bytes()
    for folder in tenants[:2]:
        add_adapter(artifact, folder.name, folder, share="a")
    other = with_one_a(tenants[0].with_name("dot"), 9, start=8)
    add_adapter(artifact, "dot", other, share="a")
    assert len(shared_files(artifact)) == 2
    remove_adapter(artifact, "ann")
    assert len(shared_files(artifact)) == 2
    same_factors(artifact / "adapters/bob", tenants[1])
    remove_adapter(artifact, "bob")
    assert shared_files(artifact) == [f"{read_manifest(artifact).adapters[-1].shared}.safetensors"]
    remove_adapter(artifact, "dot")
    assert shared_files(artifact) == []
    assert (artifact / "manifest.json").read_bytes() == before


def test_b_may_be_shared_too_and_types_stay(artifact: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "x", rank=16, seed=3)
    halves = {
        key: value.astype(np.float16) if ".lora_B." in key else value
        for key, value in read_safetensors(folder / WEIGHTS).items()
    }
    write_safetensors(folder / WEIGHTS, halves)
    info = add_adapter(artifact, "x", folder, share="b")
    kinds = {item.dtype for item in map_stored(artifact / "adapters" / f"{info.shared}.safetensors").values()}
    assert kinds == {"F16"}
    same_factors(artifact / "adapters/x", folder)


def test_one_matrix_under_many_names_is_stored_once(artifact: Path, tmp_path: Path) -> None:
    """VeRA: all modules of one width have one A, and so has every adapter of the same draw."""
    modules = [part.module for slot in read_manifest(artifact).slots for part in slot.parts]
    shapes = {m: f.delta().shape for m, f in read_adapter(write_adapter(tmp_path / "shape")).factors.items()}
    rng = np.random.default_rng(0)
    widest = max(shape[1] for shape in shapes.values()), max(shape[0] for shape in shapes.values())
    common = {
        "base_model.vera_A": rng.standard_normal((16, widest[0])).astype(np.float32),
        "base_model.vera_B": rng.standard_normal((widest[1], 16)).astype(np.float32),
    }
    for name in ("vera", "two"):
        folder = tmp_path / name
        folder.mkdir()
        own = {}
        for module in modules:
            prefix = f"base_model.model.{module}"
            own[f"{prefix}.vera_lambda_b"] = rng.standard_normal(shapes[module][0]).astype(np.float32) * 0.1
            own[f"{prefix}.vera_lambda_d"] = rng.standard_normal(16).astype(np.float32)
        write_safetensors(folder / WEIGHTS, {**common, **own})
        config = {"peft_type": "VERA", "r": 16, "target_modules": sorted({m.rsplit(".", 1)[1] for m in modules})}
        (folder / "adapter_config.json").write_text(json.dumps(config | {"projection_prng_key": 0}))
        assert edgelora.add_adapter(artifact, f"plain-{name}", folder).shared is None
        assert edgelora.add_adapter(artifact, name, folder, share="a").shared is not None
    (name,) = shared_files(artifact)
    assert len(map_stored(artifact / "adapters" / name)) == len({shape[1] for shape in shapes.values()}) == 2
    model = load(artifact)
    for term in ("vera", "two"):
        expected = model.logits([5, 6, 7], adapter=f"plain-{term}")
        np.testing.assert_array_equal(model.logits([5, 6, 7], adapter=term), expected)
        assert np.abs(expected - model.logits([5, 6, 7])).max() > 1e-2


def test_a_folder_taken_out_is_whole_for_every_command(
    artifact: Path, tenants: list[Path], tiny_checkpoint: Path, tmp_path: Path, call: Call
) -> None:
    base = read_manifest(artifact).base
    write_receipt(tenants[0], Receipt("tiny", base.fingerprint, weights=file_info(tenants[0] / WEIGHTS).sha256))
    add_adapter(artifact, "ann", tenants[0], share="a")
    inside = artifact / "adapters/ann"
    kept = read_receipt(inside)
    assert kept is not None
    assert kept.weights == file_info(inside / WEIGHTS).sha256
    other = Path(shutil.copytree(artifact, tmp_path / "other"))
    remove_adapter(other, "ann")
    assert shared_files(other) == []
    assert add_adapter(other, "ann", inside).shared is None
    library = tmp_path / "library"
    entry = add_to_library(library, inside, "ann").entry
    assert call("convert", inside, "-o", tmp_path / "out")[0] == 0
    assert call("merge", inside, tenants[1], "-o", tmp_path / "both", "--method", "cat")[0] == 0
    found = [other / "adapters/ann", next(library.rglob(WEIGHTS)).parent, tmp_path / "out"]
    assert entry.rank == 16
    for folder in found:
        assert {item.dtype for item in map_stored(folder / WEIGHTS).values()} == {"F32"}
        same_factors(folder, tenants[0])
        receipt = read_receipt(folder)
        assert receipt is None or receipt.weights == file_info(folder / WEIGHTS).sha256
    wrapped = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_checkpoint), str(found[0]))
    weights = peft.get_peft_model_state_dict(wrapped)
    for key, value in read_safetensors(tenants[0] / WEIGHTS).items():
        np.testing.assert_array_equal(weights[key].numpy(), value)
    with pytest.raises(RuntimeError, match="size mismatch"):  # and never answers with factors of nobody
        peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_checkpoint), str(inside))


def test_a_shared_file_that_is_missing_or_another_is_refused_by_name(artifact: Path, tenants: list[Path]) -> None:
    for folder in tenants:
        add_adapter(artifact, folder.name, folder, share="a")
    (name,) = shared_files(artifact)
    path, inside = artifact / "adapters" / name, artifact / "adapters/ann"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x7f")
    told = f"{inside} has factors in ../{name}, which has sha256 {file_info(path).sha256[:12]}; copy or export the"
    with pytest.raises(AdapterError, match=told.replace(".", r"\.")):
        read_adapter(inside)
    with pytest.raises(ArtifactError, match=f"is damaged: adapters/{name}: sha256"):
        load(artifact).logits([1], adapter="ann")
    with pytest.raises(AdapterError, match="is damaged, and adapters share it"):
        add_adapter(artifact, "new", tenants[0], share="a")
    path.unlink()
    with pytest.raises(AdapterError, match=f"has factors in ../{name}, which is missing; copy the whole artifact"):
        read_adapter(inside)
    with pytest.raises(ArtifactError, match=f"is damaged: adapters/{name}: missing"):
        load(artifact).logits([1], adapter="ann")
    data = json.loads((artifact / "manifest.json").read_text())
    for wrong, line in (("A" * 64, "expected 64 lower-case hexadecimal digits"), ("a" * 64, "is not listed in files")):
        data["adapters"][-1]["shared"] = wrong
        (artifact / "manifest.json").write_text(json.dumps(data))
        with pytest.raises(ArtifactError, match=rf"adapters\[4\]: shared.*{line}"):
            load(artifact).logits([1], adapter="cid")


def test_what_was_cut_short_is_put_right(artifact: Path, tenants: list[Path]) -> None:
    add_adapter(artifact, "ann", tenants[0], share="a")
    (kept,) = shared_files(artifact)
    place = artifact / "adapters"
    (place / ".changing").touch()
    (place / f"{'0' * 64}.safetensors").write_bytes(b"of an adapter that never came")
    (place / "notes.txt").write_text("somebody's own")
    with changing(artifact):
        pass
    assert shared_files(artifact) == [kept, "notes.txt"]
    with pytest.raises(AdapterError):
        add_adapter(artifact, "bad", write_adapter(place.parent / "bad", size=0.0), share="a")
    assert shared_files(artifact) == [kept, "notes.txt"]


def test_small_factors_stay_where_they_are(artifact: Path, tmp_path: Path, call: Call) -> None:
    small = write_adapter(tmp_path / "small", rank=1, seed=5)
    code, told, _ = call("add", artifact, f"small={small}", "--share", "a")
    assert (code, shared_files(artifact)) == (0, [])
    assert "its factors A are too small to be stored apart" in told
    assert call("add", artifact, f"x={small}", "--share", "c")[0] == 2
    with pytest.raises(ConfigError, match="--share is 'c'; choose a or b"):
        add_adapter(artifact, "x", small, share="c")


def test_commands_tell_what_is_stored(artifact: Path, tenants: list[Path], call: Call) -> None:
    lines = [call("add", artifact, f"{folder.name}={folder}", "--share", "a")[1] for folder in tenants]
    assert "in a file of their own, which no other adapter has so far" in lines[0]
    assert "shared with ann, bob" in lines[2]
    (name,) = shared_files(artifact)
    told = json.loads(call("list", artifact, "--json")[1])["adapters"]
    sizes = {item["name"]: (item["bytes"], item["shared_bytes"]) for item in told}
    for folder in tenants:
        own = sum(path.stat().st_size for path in (artifact / "adapters" / folder.name).iterdir())
        assert sizes[folder.name] == (own, (artifact / "adapters" / name).stat().st_size)
    assert sizes["usual"][1] == 0
    assert " of 3" in call("list", artifact)[1]


def test_adding_does_not_take_longer_with_many(artifact: Path, tenants: list[Path]) -> None:
    add_adapter(artifact, "ann", tenants[0], probe=False, share="a")
    (name,) = shared_files(artifact)
    data = json.loads((artifact / "manifest.json").read_text())
    entry = next(item for item in data["adapters"] if item["name"] == "ann")
    files = {file: info for file, info in data["files"].items() if file.startswith("adapters/ann/")}
    for index in range(1000):
        data["adapters"].append({**entry, "name": f"t{index}", "path": f"adapters/t{index}"})
        data["files"] |= {file.replace("/ann/", f"/t{index}/"): info for file, info in files.items()}
        shutil.copytree(artifact / "adapters/ann", artifact / f"adapters/t{index}")
    (artifact / "manifest.json").write_text(json.dumps(data))
    began = time.perf_counter()
    add_adapter(artifact, "bob", tenants[1], probe=False, share="a")
    assert time.perf_counter() - began < 1.0  # a look at each of the thousand takes longer
    assert shared_files(artifact) == [name]
