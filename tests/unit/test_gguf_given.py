"""A GGUF file of llama.cpp is taken wherever a PEFT folder is: into an artifact, at an export, by a merge."""

import shutil
from collections.abc import Collection
from pathlib import Path

import gguf
import numpy as np
import pytest

from edgelora.adapter.convert import convert
from edgelora.artifact.convert_adapters import plain_adapters
from edgelora.artifact.options import ExportOptions
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.progress import SILENT
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.manifest import read_manifest
from tests.tiny import write_adapter, write_artifact, write_checkpoint

HEADS = ("llama.attention.head_count", "llama.attention.head_count_kv")
OURS = ("edgelora.adapter_config",)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def artifact(checkpoint: Path) -> Path:
    write_artifact(checkpoint, checkpoint.with_name("artifact"))
    return checkpoint.with_name("artifact")


def without(path: Path, keys: Collection[str], architecture: str = "llama") -> Path:
    """The same factors in a file that says less, as llama.cpp's own converter writes it."""
    reader, out = gguf.GGUFReader(path), path.with_name(f"{architecture}.gguf")
    writer = gguf.GGUFWriter(out, architecture)
    for name, field in reader.fields.items():
        if name not in keys and not name.startswith("GGUF.") and name != "general.architecture":
            writer.add_key_value(name, field.contents(), field.types[0])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def same(one: Path, other: Path) -> bool:
    before, after = read_adapter(one).factors, read_adapter(other).factors
    return before.keys() == after.keys() and all(
        np.array_equal(item.delta(), after[name].delta()) for name, item in before.items()
    )


def test_an_artifact_takes_the_file(
    checkpoint: Path, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Path(shutil.copytree(artifact, tmp_path / "artifact"))
    folder = write_adapter(tmp_path / "a", rank=3)
    convert(folder, tmp_path / "a.gguf", str(checkpoint))
    assert main(["adapter", "add", str(place), f"ours={tmp_path / 'a.gguf'}"]) == 0
    assert "llama.cpp's file as a folder of PEFT" in capsys.readouterr().out
    assert same(folder, place / "adapters/ours")
    theirs = without(tmp_path / "a.gguf", (*HEADS, *OURS))  # the slots say how many heads there are
    assert main(["adapter", "add", str(place), f"theirs={theirs}", "--store", "int8"]) == 0
    assert main(["adapter", "add", str(place), f"exact={theirs}"]) == 0
    assert same(folder, place / "adapters/exact")
    convert(theirs, tmp_path / "b", str(place))  # and so for a conversion
    assert same(folder, tmp_path / "b")


def test_an_export_takes_the_file(checkpoint: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", rank=3)
    convert(folder, tmp_path / "a.gguf", str(checkpoint))
    theirs = without(tmp_path / "a.gguf", (*HEADS, *OURS))
    base = open_checkpoint(str(checkpoint))
    with plain_adapters(ExportOptions(adapters={"g": theirs}), base, SILENT) as plain:
        assert same(folder, plain.adapters["g"])
    with plain_adapters(ExportOptions(merge=tmp_path / "a.gguf"), base, SILENT) as plain:
        assert plain.merge is not None
        assert same(folder, plain.merge)
        assert plain.merge.name == "a"
    out = tmp_path / "merged"
    assert main(["export", str(checkpoint), "-o", str(out), "--merge", str(theirs), "--quant", "none"]) == 0
    assert read_manifest(out).merged is not None


def test_what_does_not_fit_is_one_line(
    checkpoint: Path, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(write_adapter(tmp_path / "a", rank=3), tmp_path / "a.gguf", str(checkpoint))
    before = (artifact / "manifest.json").read_bytes()
    (tmp_path / "torn.gguf").write_bytes((tmp_path / "a.gguf").read_bytes()[:100])
    other = without(tmp_path / "a.gguf", (*HEADS, *OURS), "qwen2")
    model = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(model, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    for path, line in (
        (tmp_path / "none.gguf", "none.gguf"),
        (tmp_path / "torn.gguf", "torn.gguf"),
        (other, "is an adapter for qwen2, and the artifact is llama"),
        (model, "is a GGUF file of a model, expected an adapter"),
    ):
        assert main(["adapter", "add", str(artifact), f"x={path}"]) == 2
        told = capsys.readouterr().err
        assert line in told
        assert told.count("\n") == 1
    assert (artifact / "manifest.json").read_bytes() == before
