"""Whole exports of tiny models: the files, what survives a failure, merging, and codes that a GGUF brought along."""

import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnx_ir as ir
import pytest
from safetensors.numpy import load_file, save_file

from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact, fill_artifact, place_artifact
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import AdapterError, ArtifactError, ConfigError
from edgelora.grid.blocks import unpack_codes
from edgelora.grid.make import Grid, parse_quant, plan_grid
from edgelora.merging.merge_all import merge_all
from edgelora.values import Checkpoint, ExportedModel
from edgelora_onnx import OnnxExporter
from edgelora_runtime import load
from edgelora_runtime.check_files import check_files
from edgelora_runtime.manifest import read_manifest
from tests.tiny import write_adapter, write_artifact, write_checkpoint
from tests.unit.gguf_files import tiny_model, write_gguf


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("export") / "base")


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_artifact_holds_what_its_manifest_lists(base: Path, tmp_path: Path) -> None:
    manifest = write_artifact(base, tmp_path / "a")
    assert _files(tmp_path / "a") == {*manifest.files, "manifest.json"}
    assert set(manifest.files) == {
        "decoder.onnx",
        "decoder.plain.onnx",
        "decoder.fused.onnx",
        "weights.bin",
        "tokenizer.json",
        "chat_template.jinja",
        "reference.safetensors",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_exporting_twice_gives_the_same_weights_and_grid(base: Path, tmp_path: Path) -> None:
    first, second = (write_artifact(base, tmp_path / name) for name in ("a", "b"))
    assert first.files["weights.bin"] == second.files["weights.bin"]
    assert first.base == second.base


def _export(base: Path, out: Path, **options: Any) -> None:
    make_grid = options.pop("make_grid", functools.partial(plan_grid, plan=parse_quant("int4")))
    exporter, budget_mb = options.pop("exporter", OnnxExporter()), options.pop("budget_mb", None)
    build, checkpoint = Build(exporter, ExportOptions(**options), budget_mb=budget_mb), open_checkpoint(str(base))
    with place_artifact(out, checkpoint, build) as folder:
        fill_artifact(folder, Parts(make_grid(checkpoint)), build)


def test_weights_beyond_their_budget_are_not_put_in_place(base: Path, tmp_path: Path) -> None:
    """The plan foretells what the weights take; what they do take is what counts."""
    _export(base, tmp_path / "a")
    taken = (tmp_path / "a" / "weights.bin").stat().st_size
    _export(base, tmp_path / "b", budget_mb=taken / 1e6)
    with pytest.raises(ConfigError, match=r"--budget-mb is 0\.0\d+, but as they are stored the weights take 0\.\d+ MB"):
        _export(base, tmp_path / "c", budget_mb=(taken - 1) / 1e6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_existing_folder_is_kept_unless_told_otherwise(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    _export(base, out)
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match=r"a exists; choose another folder, or replace it with --overwrite"):
        _export(base, out, make_grid=functools.partial(plan_grid, plan=parse_quant("int8")))
    assert (out / "manifest.json").read_bytes() == before
    _export(base, out, make_grid=functools.partial(plan_grid, plan=parse_quant("int8")), overwrite=True)
    assert read_manifest(out).quantization["bits"] == 8
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_overwrite_refuses_a_folder_that_is_no_artifact(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "photos"
    out.mkdir()
    (out / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(ArtifactError, match=r"has no manifest\.json"):
        _export(base, out, overwrite=True)
    assert _files(tmp_path) == {"photos/cat.jpg"}


class _FullDisk:
    """An exporter that writes half a file and fails as a full disk does."""

    def export(self, grid: Grid, folder: Path, accuracy_level: int, **_: object) -> ExportedModel:
        (folder / "weights.bin").write_bytes(b"half")
        raise OSError(28, "No space left on device", str(folder / "weights.bin"))

    def add_genai(self, folder: Path, exported: ExportedModel, grid: Grid) -> None:
        raise AssertionError("never reached")


def test_a_failure_leaves_nothing_behind(base: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        _export(base, tmp_path / "a", exporter=_FullDisk())
    foreign = write_adapter(tmp_path / "foreign", size=0.0)
    with pytest.raises(AdapterError):
        _export(base, tmp_path / "a", adapters={"zero": foreign})
    with pytest.raises(OSError, match="No space left") as caught:
        _export(base, tmp_path / "deep/er/a", exporter=_FullDisk())
    assert caught.value.filename == str(tmp_path / "deep/er/a")  # not the temporary folder, which is gone
    assert [path.name for path in tmp_path.iterdir()] == ["foreign"]


def _snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every file's content, and where links point."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_whatever_is_no_artifact_alone_stays_at_its_place(base: Path, tmp_path: Path) -> None:
    """``-o`` onto the model, an adapter, an artifact that holds something of the user's, or into an artifact."""
    adapter, model, mixed = write_adapter(tmp_path / "adapter"), tmp_path / "model", tmp_path / "mixed"
    shutil.copytree(base, model)
    write_artifact(base, mixed, reference=False)
    (mixed / "notes.txt").write_text("years of work")
    (tmp_path / "file").write_text("mine")
    write_artifact(base, tmp_path / "whole", reference=False)
    before = _snapshot(tmp_path)
    for out, line in {
        "model": r"has no manifest\.json",
        "adapter": r"has no manifest\.json",
        "mixed": r"mixed holds what is not of its artifact \(notes\.txt\); move it away, or choose another folder",
        "file": "is not a folder",
        "whole/inside": "inside is inside the artifact .*whole",
        "whole/adapters/a": "a is inside the artifact .*whole",
        "file/below": "file/below",
    }.items():
        with pytest.raises((ArtifactError, ConfigError, OSError), match=line):
            _export(model, tmp_path / out, adapters={"a": adapter}, overwrite=True)
        assert _snapshot(tmp_path) == before


def test_an_artifact_is_replaced_where_it_is_however_its_place_is_written(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").mkdir()
    write_artifact(base, tmp_path / "x/real", reference=False)
    (tmp_path / "link").symlink_to("x/real")
    monkeypatch.chdir(tmp_path)
    for bits, out in zip(
        (8, 4, 8, 4, 8),
        ("link", "x/../x/real", "x/real/", "link/../real", tmp_path / "nowhere/../link"),
        strict=True,
    ):
        plan = functools.partial(plan_grid, plan=parse_quant(f"int{bits}"))
        _export(base, Path(out), make_grid=plan, overwrite=True)
        assert (tmp_path / "link").readlink() == Path("x/real")
        found = read_manifest(tmp_path / "x/real")
        check_files(tmp_path / "x/real", found)
        assert found.quantization["bits"] == bits
        assert (sorted(os.listdir(tmp_path)), os.listdir(tmp_path / "x")) == (["link", "x"], ["real"])


def test_adapters_of_the_artifact_that_is_replaced_can_go_into_the_new_one(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    _export(base, out, adapters={"one": write_adapter(tmp_path / "one")})
    before = _snapshot(out / "adapters")
    _export(base, out, adapters={"one": out / "adapters/one"}, overwrite=True)
    assert _snapshot(out / "adapters") == before
    check_files(out, read_manifest(out))


def test_an_artifact_that_another_command_changes_is_not_replaced_meanwhile(base: Path, tmp_path: Path) -> None:
    out, adapter = tmp_path / "a", write_adapter(tmp_path / "one")
    write_artifact(base, out, reference=False)
    seen = []

    def add_meanwhile(checkpoint: Checkpoint) -> Grid:
        add_adapter(out, "late", adapter)  # between the first look and the exchange
        seen.append("late")
        return plan_grid(checkpoint, parse_quant("int8"))

    _export(base, out, make_grid=add_meanwhile, overwrite=True)
    assert seen == ["late"]
    assert read_manifest(out).adapters == ()
    check_files(out, read_manifest(out))

    def put_notes(checkpoint: Checkpoint) -> Grid:
        (out / "notes.txt").write_text("years of work")
        return plan_grid(checkpoint, parse_quant("int4"))

    before = _snapshot(out)
    with pytest.raises(ConfigError, match="notes"):
        _export(base, out, make_grid=put_notes, overwrite=True)
    assert _snapshot(out) == {**before, "notes.txt": b"years of work"}
    assert sorted(os.listdir(tmp_path)) == ["a", "one"]


def test_merged_equals_factored(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", rank=3)
    _export(
        base,
        tmp_path / "factored",
        make_grid=functools.partial(plan_grid, plan=parse_quant("none")),
        adapters={"x": adapter},
    )
    manifest = write_artifact(base, tmp_path / "merged", quant="none", merge=adapter)
    assert manifest.slots == ()
    ids = list(range(5, 60, 3))
    factored = load(tmp_path / "factored")
    expected = factored.logits(ids, adapter="x")
    np.testing.assert_allclose(load(tmp_path / "merged").logits(ids), expected, atol=1e-3)
    assert np.abs(factored.logits(ids) - expected).max() > 0.1


@pytest.mark.parametrize("is_dora", [False, True])
def test_merging_refuses_an_adapter_that_is_not_whole(base: Path, is_dora: bool, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", targets=("q_proj", "down_proj"))
    weights, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    tensors = dict(load_file(weights))
    fields = json.loads(config.read_text())
    if is_dora:
        fields["use_dora"] = True
        names = [name for name in tensors if name.endswith("lora_B.weight")]
        tensors |= {
            name.replace("lora_B.weight", "lora_magnitude_vector"): np.ones(len(tensors[name]), np.float32)
            for name in names
        }
    save_file(tensors, weights)
    config.write_text(json.dumps(fields))
    write_artifact(base, tmp_path / "whole", quant="none", merge=adapter)
    save_file({name: tensor for name, tensor in tensors.items() if "layers.1.mlp.down_proj" not in name}, weights)
    with pytest.raises(
        AdapterError, match=r"not whole: model\.layers\.1\.mlp\.down_proj: its configuration claims it, and it has no f"
    ):
        write_artifact(base, tmp_path / "less", quant="none", merge=adapter)
    save_file(tensors, weights)
    config.write_text(json.dumps(fields | {"layers_to_transform": [0]}))
    with pytest.raises(AdapterError, match=r"model\.layers\.1\.mlp\.down_proj: its configuration does not claim it"):
        write_artifact(base, tmp_path / "more", quant="none", merge=adapter)
    config.write_text(json.dumps(fields | {"target_modules": 5}))
    with pytest.raises(AdapterError, match="target_modules is 5, expected text or a list of texts"):
        write_artifact(base, tmp_path / "odd", quant="none", merge=adapter)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "whole"]


def test_merging_refuses_what_does_not_fit_or_changes_nothing(base: Path, tmp_path: Path) -> None:
    zero = write_adapter(tmp_path / "zero", size=0.0)
    with pytest.raises(AdapterError, match="changes nothing: every product B A is zero"):
        write_artifact(base, tmp_path / "a", merge=zero)
    other = write_checkpoint(tmp_path / "other")
    config = (other / "config.json").read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1')
    (other / "config.json").write_text(config)
    with pytest.raises(
        AdapterError, match=r"does not fit other: model\.layers\.1\.mlp\.down_proj: the base has no such"
    ):
        shallow = open_checkpoint(str(_without_layer(other)))
        make_grid = functools.partial(plan_grid, plan=parse_quant("int4"))
        merge_all(shallow, write_adapter(tmp_path / "adapter"), make_grid, accept_lossy=False)
    assert not (tmp_path / "a").exists()


def _without_layer(folder: Path) -> Path:
    """Drop the tensors of layer 1."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if ".layers.1." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(("kind", "quant", "bits"), [("Q4_0", "int4", 4), ("Q8_0", "int8", 8)])
def test_codes_of_a_gguf_reach_the_artifact_untouched(kind: str, quant: str, bits: int, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, "llama", tiny_model("llama"), lambda name: kind)
    grid = plan_grid(open_checkpoint(str(path)), parse_quant(quant))
    manifest = export_artifact(Parts(grid), tmp_path / "a", Build(OnnxExporter()))
    assert manifest.quantization["tensors_with_kept_codes"] > 0
    tensor = next(item for item in gguf.GGUFReader(path).tensors if item.name == "blk.0.ffn_down.weight")
    blocks = np.asarray(tensor.data).reshape(tensor.data.shape[0], -1, 2 + 32 * bits // 8)[:, :, 2:]  # after each scale
    if bits == 4:  # the file keeps elements 0 to 15 in the low halves of a block's bytes, 16 to 31 in the high ones
        theirs = np.concatenate([blocks & 15, blocks >> 4], axis=-1)
    else:
        theirs = (blocks.view(np.int8).astype(np.int16) + 128).astype(np.uint8)
    model = ir.load(tmp_path / "a" / "decoder.onnx")
    initializer = model.graph.initializers["model.layers.0.mlp.down_proj.codes"]
    assert initializer.const_value is not None
    assert (unpack_codes(initializer.const_value.numpy(), bits) == theirs).all()
