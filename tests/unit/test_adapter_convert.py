"""PEFT folders become GGUF adapters of llama.cpp and come back: the same factors, ranks, scalings and configuration."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from edgelora.adapter.convert import convert
from edgelora.cli import main
from edgelora.errors import AdapterError, CheckpointError, ConfigError
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
from tests.tiny import HEADS, KV_HEADS, write_adapter, write_checkpoint
from tests.unit.gguf_files import tiny_model, write_gguf

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("base") / "base"))


def _change(folder: Path, **fields: Any) -> Path:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **fields}))
    return folder


def _same_deltas(one: Path, other: Path, rtol: float = 0) -> None:
    before, after = read_adapter(one).factors, read_adapter(other).factors
    assert list(before) == list(after)
    for module, item in before.items():
        np.testing.assert_allclose(after[module].delta(), item.delta(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_there_and_back_gives_the_same_bytes_and_configuration(base: str, dtype: Any, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", rank=3)
    tensors = {name: value.astype(dtype) for name, value in read_safetensors(folder / WEIGHTS).items()}
    write_safetensors(folder / WEIGHTS, tensors)
    _change(folder, base_model_name_or_path=base, lora_dropout=0.05)
    there = convert(folder, tmp_path / "a.gguf")
    back = convert(tmp_path / "a.gguf", tmp_path / "b")
    assert (there.modules, there.rank, there.notes) == (back.modules, back.rank, back.notes) == (14, 3, ())
    assert (tmp_path / "b" / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    assert json.loads((tmp_path / "b" / CONFIG).read_text()) == json.loads((folder / CONFIG).read_text())


def test_the_command_tells_what_it_wrote(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = write_adapter(tmp_path / "a", rank=3), tmp_path / "a.gguf"
    assert main(["adapter", "convert", str(folder), "-o", str(out), "--base", base, "--json"]) == 0
    told = {"adapter": str(out), "modules": 14, "rank": 3, "bytes": out.stat().st_size, "notes": []}
    assert json.loads(capsys.readouterr().out) == {**told, "relative_error": 0.0}
    assert main(["adapter", "convert", str(out), "-o", str(tmp_path / "b")]) == 0
    assert f"{tmp_path / 'b'}: 14 modules, rank 3" in capsys.readouterr().out
    assert main(["adapter", "convert", str(folder), "-o", str(out), "--base", base]) == 2
    assert capsys.readouterr().err == f"edgelora: {out} exists; choose another path\n"


def test_what_llama_cpp_reads_is_there(base: str, tmp_path: Path) -> None:
    """Its names, its alpha, and rows of q and k in neighbours: checked without the code that wrote them."""
    folder = write_adapter(tmp_path / "a", rank=3)
    convert(folder, tmp_path / "a.gguf", base)
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    value = {name: field.contents() for name, field in reader.fields.items()}
    assert value["general.type"] == "adapter" and value["adapter.type"] == "lora"
    assert value["general.architecture"] == "llama" and value["adapter.lora.alpha"] == 8
    stored = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(stored) == 28
    tensors = read_safetensors(folder / WEIGHTS)
    for kind, name, heads in (("q_proj", "attn_q", HEADS), ("k_proj", "attn_k", KV_HEADS), ("v_proj", "attn_v", 0)):
        prefix = f"base_model.model.model.layers.1.self_attn.{kind}"
        b = tensors[f"{prefix}.lora_B.weight"]
        if heads:
            b = b.reshape(heads, 2, -1, 3).swapaxes(1, 2).reshape(b.shape)
        np.testing.assert_array_equal(stored[f"blk.1.{name}.weight.lora_a"], tensors[f"{prefix}.lora_A.weight"])
        np.testing.assert_array_equal(stored[f"blk.1.{name}.weight.lora_b"], b)


def test_an_invocation_travels_where_llama_cpp_looks_for_it(base: str, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", invocation=(257, 64))
    convert(folder, tmp_path / "a.gguf", base)
    found = gguf.GGUFReader(tmp_path / "a.gguf").fields["adapter.alora.invocation_tokens"].contents()
    assert found == [257, 64]
    convert(tmp_path / "a.gguf", tmp_path / "b", base)
    assert read_adapter(tmp_path / "b").invocation == (257, 64)


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({"use_rslora": True}, 0),  # one alpha for all, of another size
        ({"lora_alpha": 4}, 0),  # scaling 1
        ({"rank_pattern": {}, "alpha_pattern": {"layers.0.mlp.up_proj": 2}}, 1),
        ({"alpha_pattern": {"q_proj": 5.3}}, 1),
    ],
)
def test_every_scaling_arrives(base: str, fields: dict[str, Any], notes: int, tmp_path: Path) -> None:
    folder = _change(write_adapter(tmp_path / "a", rank=4), **fields)
    assert len(convert(folder, tmp_path / "a.gguf", base).notes) == notes
    convert(tmp_path / "a.gguf", tmp_path / "b")
    _same_deltas(folder, tmp_path / "b", rtol=1e-6)


def test_ranks_may_differ(base: str, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", rank=4)
    tensors = read_safetensors(folder / WEIGHTS)
    for name in [name for name in tensors if ".layers.1." in name]:
        tensors[name] = tensors[name][:2] if ".lora_A." in name else np.ascontiguousarray(tensors[name][:, :2])
    write_safetensors(folder / WEIGHTS, tensors)
    _change(folder, rank_pattern={r".*\.layers\.1\..*": 2})
    assert not convert(folder, tmp_path / "a.gguf", base).notes  # alpha over each rank is what llama.cpp does too
    convert(tmp_path / "a.gguf", tmp_path / "b")
    _same_deltas(folder, tmp_path / "b")


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3", "phi3", "granite", "gpt2"])
def test_adapters_of_other_programs_are_read(architecture: str, tmp_path: Path) -> None:
    """A file with nothing of ours in it, for every row of every linear; the base says how many heads there are."""
    write_gguf(tmp_path / "base.gguf", architecture, tiny_model(architecture))
    names = [tensor.name for tensor in gguf.GGUFReader(tmp_path / "base.gguf").tensors if len(tensor.shape) == 2]
    names = [name for name in names if name.startswith("blk.")]
    writer = _begin(tmp_path / "a.gguf", architecture)
    shapes = {tensor.name: tensor.shape for tensor in gguf.GGUFReader(tmp_path / "base.gguf").tensors}
    rng = np.random.default_rng(0)
    for name in names:
        in_features, out_features = map(int, shapes[name])
        writer.add_tensor(f"{name}.lora_a", rng.standard_normal((2, in_features)).astype(np.float32))
        writer.add_tensor(f"{name}.lora_b", rng.standard_normal((out_features, 2)).astype(np.float32))
    _finish(writer)
    convert(tmp_path / "a.gguf", tmp_path / "a", str(tmp_path / "base.gguf"))
    found = read_adapter(tmp_path / "a")
    assert len(found.factors) == len(names) and {item.scaling for item in found.factors.values()} == {8.0}
    convert(tmp_path / "a", tmp_path / "b.gguf", str(tmp_path / "base.gguf"))
    one, other = (
        {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
        for path in (tmp_path / "a.gguf", tmp_path / "b.gguf")
    )
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value)


@pytest.mark.parametrize("store", ["float16", "int8"])
def test_store_rounds_as_adding_does(base: str, store: str, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    convert(folder, tmp_path / "b", store=store)
    convert(folder, tmp_path / "b.gguf", base, store)
    convert(tmp_path / "b.gguf", tmp_path / "c")
    _same_deltas(tmp_path / "b", tmp_path / "c")
    before, after = (read_adapter(path).factors for path in (folder, tmp_path / "b"))
    errors = [np.abs(after[module].a - item.a).max() for module, item in before.items()]
    assert 0 < max(errors) < 0.05
    assert (tmp_path / "b" / WEIGHTS).stat().st_size < (folder / WEIGHTS).stat().st_size or store == "int8"


def _begin(path: Path, architecture: str = "llama", **fields: str) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(fields.get("type", "adapter"))
    writer.add_string("adapter.type", fields.get("kind", "lora"))
    writer.add_float32("adapter.lora.alpha", 16)
    return writer


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _factors(*names: str, rank: int = 2) -> Callable[[gguf.GGUFWriter], None]:
    def add(writer: gguf.GGUFWriter) -> None:
        for name in names:
            writer.add_tensor(name, np.ones((64, rank) if name.endswith("b") else (2, 64), np.float32))

    return add


@pytest.mark.parametrize(
    ("fields", "add", "line"),
    [
        ({"type": "model"}, _factors(), "is a GGUF file of a model, expected an adapter"),
        ({"kind": "control"}, _factors(), "of the kind 'control'"),
        ({"architecture": "mamba"}, _factors(), "an adapter for 'mamba'; EdgeLoRA reads those of llama"),
        ({}, _factors(), "it holds no factors"),
        ({}, _factors("blk.0.attn_v.weight.lora_a"), "self_attn.v_proj lacks lora_b"),
        ({}, _factors("blk.0.ssm_in.weight.lora_a"), "ssm_in.weight.lora_a' is no factor of a linear of llama"),
        ({}, _factors("token_embd.weight.lora_a"), "token_embd.weight.lora_a' is no factor of a linear"),
        ({}, _factors("blk.7.attn_v.weight.lora_a"), "names layer 7 and has 1 tensors"),
        (
            {},
            _factors("blk.0.attn_v.weight.lora_a", "blk.0.attn_v.weight.lora_b", rank=3),
            "v_proj has ranks 2 and 3",
        ),
        (
            {},
            lambda writer: writer.add_string("adapter.dora", "yes"),
            "has adapter.dora, which EdgeLoRA does not know",
        ),
    ],
)
def test_what_plain_lora_cannot_hold_is_refused_by_name(
    fields: dict[str, str], add: Callable[[gguf.GGUFWriter], None], line: str, tmp_path: Path
) -> None:
    writer = _begin(tmp_path / "a.gguf", **fields)
    add(writer)
    _finish(writer)
    with pytest.raises(AdapterError, match=line):
        convert(tmp_path / "a.gguf", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_what_stands_in_the_way_is_one_line(base: str, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    with pytest.raises(ConfigError, match="does not name its base"):
        convert(folder, tmp_path / "a.gguf")
    with pytest.raises(ConfigError, match="exists; choose another path"):
        convert(folder, folder)
    with pytest.raises(ConfigError, match="--store is 'int4'"):
        convert(folder, tmp_path / "b", store="int4")
    with pytest.raises(AdapterError, match=r"down_proj is \(64, 96\), expected \(32, 96\)"):
        other = tiny_model("llama", hidden_size=32, head_dim=16)
        write_gguf(tmp_path / "other.gguf", "llama", other)
        convert(folder, tmp_path / "a.gguf", str(tmp_path / "other.gguf"))
    writer = _begin(tmp_path / "q.gguf")
    _factors("blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b")(writer)
    _finish(writer)
    with pytest.raises(ConfigError, match="does not say how many heads its base has"):
        convert(tmp_path / "q.gguf", tmp_path / "b")
    (tmp_path / "torn.gguf").write_bytes((tmp_path / "q.gguf").read_bytes()[:300])
    with pytest.raises(CheckpointError, match="no complete GGUF file"):
        convert(tmp_path / "torn.gguf", tmp_path / "b")
    assert not (tmp_path / "a.gguf").exists() and not (tmp_path / "b").exists()
