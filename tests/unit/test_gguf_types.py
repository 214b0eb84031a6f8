"""Types of GGUF tensors: each that the gguf package knows is read, every other is refused by name."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_files import tiny_model, write_gguf

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import CheckpointError


@pytest.mark.parametrize("kind", ["Q4_1", "Q5_0", "Q5_1", "F16", "BF16"])
def test_other_types_are_dequantized_and_said_so(kind: str, tmp_path: Path) -> None:
    model = tiny_model("qwen2")
    stored = write_gguf(tmp_path / "tiny.gguf", "qwen2", model, lambda name: kind if "mlp" in name else "F32")
    checkpoint = open_checkpoint(str(tmp_path / "tiny.gguf"))
    name = "model.layers.1.mlp.down_proj.weight"
    expected = gguf.dequantize(stored["blk.1.ffn_down.weight"], gguf.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(checkpoint.read(name), expected)
    assert checkpoint.packed(name) is None
    if kind in ("F16", "BF16"):
        assert checkpoint.notes == ()
    else:
        assert len(checkpoint.notes) == 1
        assert checkpoint.notes[0].startswith(f"6 tensors are {kind} and were dequantized: ")
        assert ("block minimum is no multiple of its scale" in checkpoint.notes[0]) == kind.endswith("_1")


@pytest.mark.parametrize("kind", ["Q2_K", "Q4_K", "Q6_K", "IQ4_XS"])
def test_types_that_gguf_can_only_read(kind: str, tmp_path: Path) -> None:
    model = tiny_model("llama", hidden_size=256, head_dim=64)
    wanted = gguf.GGMLQuantizationType[kind]
    size = gguf.GGML_QUANT_SIZES[wanted][1]
    # Bytes below 0x7C make every float16 scale finite, wherever it lies in the block.
    blocks = np.random.default_rng(5).integers(0, 0x7C, (7, 2 * size), dtype=np.uint8)
    name = "model.layers.0.self_attn.v_proj.weight"
    path = tmp_path / "tiny.gguf"
    _write_one_raw(path, model, "blk.0.attn_v.weight", blocks, wanted)
    checkpoint = open_checkpoint(str(path))
    assert checkpoint.shape(name) == (7, 512)
    np.testing.assert_array_equal(checkpoint.read(name), gguf.dequantize(blocks, wanted))
    assert checkpoint.packed(name) is None
    assert checkpoint.notes == (f"1 tensor is {kind} and was dequantized: MatMulNBits has no form for its blocks.",)


def _set_type(path: Path, names: tuple[str, ...], number: int) -> None:
    """Write another number over the type of tensors; what they hold no longer fits, which is told later."""
    data = bytearray(path.read_bytes())
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.name in names:
            place = tensor.field.offset + 8 + len(tensor.name) + 4 + 8 * len(tensor.shape)
            data[place : place + 4] = number.to_bytes(4, "little")
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (31, r"tensor 'blk\.0\.attn_v\.weight' has type 31, which was Q4_0_4_4 until llama\.cpp removed it; make"),
        (4, "has type 4, which was Q4_2 until"),
        (141, r"has type 141, which is no type of llama\.cpp's that EdgeLoRA knows"),
        (2**32 - 1, "has type 4294967295, which is no type"),
    ],
)
def test_a_type_that_nobody_knows_is_named_with_its_tensor(number: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, "llama", tiny_model("llama"))
    _set_type(path, ("blk.0.attn_v.weight",), number)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(str(path))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    write_gguf(path, "llama", tiny_model("llama"))
    _set_type(path, ("blk.0.attn_v.weight", "blk.1.attn_v.weight"), number)
    with pytest.raises(CheckpointError, match=rf"has type {number} \(and 1 more like it\), which"):
        open_checkpoint(str(path))


@pytest.mark.parametrize("kind", list(gguf.GGMLQuantizationType))
def test_every_type_that_gguf_knows_is_read_or_named(kind: gguf.GGMLQuantizationType, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    model = tiny_model("llama", hidden_size=256, head_dim=64)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    plain = {"F32": np.float32, "F16": np.float16, "F64": np.float64}.get(kind.name)
    data = np.zeros((7, 256 // block * size), np.uint8) if plain is None else np.full((7, 256), 0.5, plain)
    _write_one_raw(path, model, "blk.0.attn_v.weight", data, kind)
    try:
        checkpoint = open_checkpoint(str(path))
    except CheckpointError as error:
        assert f"tensor 'blk.0.attn_v.weight' has type {kind.value} ({kind.name}), which the gguf package" in str(error)
        return
    value = checkpoint.read("model.layers.0.self_attn.v_proj.weight")
    assert value.shape == (7, 256) and value.dtype == np.float32
    assert plain is None or (value == 0.5).all()


def _write_one_raw(
    path: Path, model: torch.nn.Module, name: str, data: np.ndarray, kind: gguf.GGMLQuantizationType
) -> None:
    """The model in float32 with one tensor replaced by raw blocks."""
    write_gguf(path, "llama", model)
    reader = gguf.GGUFReader(path)
    copy = path.with_suffix(".copy")
    writer = gguf.GGUFWriter(copy, "llama")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(key, field.contents(), field.types[0])
    for tensor in reader.tensors:
        if tensor.name == name:
            writer.add_tensor(name, data, raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, np.asarray(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    copy.replace(path)
