"""Weights that are no numbers are refused by name, wherever they are stored and whichever command reads them."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import tiny_model, write_gguf
from safetensors.numpy import load_file, save_file

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.errors import CheckpointError, ConfigError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.merging.merge import merge_adapter
from tests.tiny import write_adapter, write_checkpoint

NORM, BIAS = "model.layers.1.input_layernorm.weight", "model.layers.0.self_attn.q_proj.bias"
LINEAR, EMBEDDING = "model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"


def _plant(folder: Path, tensor: str, value: float, kind: type = np.float32) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[tensor] = tensors[tensor].astype(kind)
    tensors[tensor].reshape(-1)[-1] = value
    save_file(tensors, path)


@pytest.mark.parametrize("quant", ["none", "fp16", "int8", "int4", "int2"])
@pytest.mark.parametrize("tensor", [NORM, BIAS, LINEAR, EMBEDDING])
@pytest.mark.parametrize(("value", "kind"), [(np.nan, np.float32), (-np.inf, np.float16), (1e300, np.float64)])
def test_no_grid_is_made_of_what_is_no_number(
    value: float, kind: type, tensor: str, quant: str, tmp_path: Path
) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    _plant(tmp_path, tensor, value, kind)
    with pytest.raises(CheckpointError, match=rf"{tensor} holds (nan|-?inf) at \[.+\], and 1 of its \d+ numbers"):
        plan_grid(open_checkpoint(str(tmp_path)), parse_quant(quant))


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_K"])
def test_gguf_scales_and_floats_are_held_to_the_same(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    sizes = {"hidden_size": 256, "intermediate_size": 256}
    try:
        write_gguf(path, "qwen2", tiny_model("qwen2", **sizes), lambda name: kind)
    except NotImplementedError:
        write_gguf(path, "qwen2", tiny_model("qwen2", **sizes), lambda name: "Q8_0" if kind == "Q4_K" else kind)
    reader = gguf.GGUFReader(path)
    tensor = next(item for item in reader.tensors if item.name == "blk.1.ffn_up.weight")
    data = bytearray(path.read_bytes())
    bad = np.array(np.nan, np.float32 if kind == "F32" else np.float16).tobytes()
    data[tensor.data_offset : tensor.data_offset + len(bad)] = bad
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{LINEAR} holds nan at \[0, 0\]"):
        plan_grid(open_checkpoint(str(path)), parse_quant("int8"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gguf_metadata_and_rotary_factors_are_finite(value: float, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"

    def no_base(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0]["llama.rope.freq_base"].value = value

    write_gguf(path, "llama", tiny_model("llama"), extra=no_base)
    with pytest.raises(CheckpointError, match=r"llama\.rope\.freq_base is '(nan|inf)'; expected a finite number"):
        open_checkpoint(str(path))

    def no_factors(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_freqs.weight", np.full(8, value, np.float32))

    write_gguf(path, "llama", tiny_model("llama"), extra=no_factors)
    with pytest.raises(CheckpointError, match=r"rope_freqs\.weight holds (nan|inf) at \[0\]"):
        open_checkpoint(str(path))


def test_float16_holds_what_it_can_and_nothing_is_lost_without_a_word(tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    _plant(tmp_path, LINEAR, 65504)
    plan_grid(open_checkpoint(str(tmp_path)), parse_quant("fp16"))
    _plant(tmp_path, LINEAR, -7e4)
    checkpoint = open_checkpoint(str(tmp_path))
    with pytest.raises(ConfigError, match=rf"{LINEAR} holds 70000, and float16 ends at 65504; choose --quant none"):
        plan_grid(checkpoint, parse_quant("fp16"))
    for quant in ("none", "int8", "int4"):
        plan_grid(checkpoint, parse_quant(quant))
    _plant(tmp_path, NORM, 7e4)  # norms stay float32
    _plant(tmp_path, LINEAR, 1)
    plan_grid(open_checkpoint(str(tmp_path)), parse_quant("fp16"))


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_range_beyond_float32_is_refused(tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    _plant(tmp_path, LINEAR, 3e38)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors[LINEAR].reshape(-1)[-2] = -3e38
    save_file(tensors, path)
    grid = plan_grid(open_checkpoint(str(tmp_path)), parse_quant("int4"))
    assert np.isfinite(grid.value(LINEAR)).all() and all(np.isfinite(error) for error in grid.errors.values())
    with pytest.raises(ConfigError, match=rf"{LINEAR} holds 3e\+38, too much for float32 scales; choose --quant none"):
        plan_grid(open_checkpoint(str(tmp_path)), parse_quant("int4", symmetric=False))


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_merge_that_leaves_the_numbers_is_refused(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(write_checkpoint(tmp_path / "model")))
    merged = merge_adapter(checkpoint, write_adapter(tmp_path / "adapter", size=1e37, alpha=10**6), None)
    with pytest.raises(CheckpointError, match=r"with the adapter merged: model\.layers\.0\..+ holds -?(inf|nan)"):
        plan_grid(merged, parse_quant("none"))


@pytest.mark.parametrize("command", ["export", "quantize", "train", "recover"])
def test_every_command_says_so_and_leaves_nothing(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_checkpoint(tmp_path / "model")
    _plant(model, "model.norm.weight", np.nan)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    out = tmp_path / ("out.safetensors" if command == "quantize" else "out")
    data = [str(rows)] if command in ("train", "recover") else []
    before = _files(tmp_path)
    assert main([command, str(model), *data, "-o", str(out), "--quant", "int4", "--json"]) == 2
    said = capsys.readouterr()
    assert "model.norm.weight holds nan at [63], and 1 of its 64 numbers" in said.err.splitlines()[-1]
    assert said.out == ""
    assert _files(tmp_path) == before


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
