"""Hugging Face folders and hub ids: values, names, tokenizers, end tokens, and one clear line for what is broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import ml_dtypes
import numpy as np
import pytest
import torch
from gguf_files import FAMILIES, tensors_of, tiny_model
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaTokenizerFast
from varied_text import varied_strings

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny qwen2 as transformers saves it."""
    tiny_model("qwen2").save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _write_json(folder / "config.json", config | changes)


def _refused(folder: Path | str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "phi3"])
def test_folder_gives_every_tensor_as_transformers_saved_it(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    model.save_pretrained(tmp_path / "tiny")
    checkpoint = open_checkpoint(str(tmp_path / "tiny"))
    expected = tensors_of(model)
    assert checkpoint.name == "tiny"
    assert checkpoint.names() == tuple(sorted(expected))
    for name, value in expected.items():
        assert checkpoint.shape(name) == value.shape
        np.testing.assert_array_equal(checkpoint.read(name), value)
        assert checkpoint.packed(name) is None
    assert checkpoint.config["model_type"] == FAMILIES[architecture][0]
    assert checkpoint.eos_token_ids == (2,)


@pytest.mark.parametrize("kind", [ml_dtypes.bfloat16, np.float16, np.float64])
def test_other_float_types_widen_exactly(kind: Any, folder: Path) -> None:
    tensors = {name: value.astype(kind) for name, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    checkpoint = open_checkpoint(str(folder))
    for name, value in tensors.items():
        read = checkpoint.read(name)
        assert read.dtype == np.float32
        assert read.flags.c_contiguous
        np.testing.assert_array_equal(read, value.astype(np.float32))


def test_shards_are_read_through_their_index(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    tiny_model("qwen2").save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    checkpoint = open_checkpoint(str(folder))
    assert set(checkpoint.names()) == set(whole)
    for name, value in whole.items():
        np.testing.assert_array_equal(checkpoint.read(name), value)

    shards = sorted(folder.glob("model-*.safetensors"))
    kept = shards[1].read_bytes()
    shards[1].unlink()
    _refused(folder, rf"tiny lacks {shards[1].name}; download the missing shards")
    lost = dict(list(load_file(shards[0]).items())[1:])
    shards[1].write_bytes(kept)
    save_file(lost, shards[0])
    _refused(folder, rf"{shards[0].name} lacks 1 tensors of the index \('model\.")


def test_index_may_not_lead_out_of_the_folder(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    _write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "../outside.safetensors"}})
    _refused(folder, r"names '\.\./outside\.safetensors', which is no plain file name")
    _write_json(folder / "model.safetensors.index.json", {"weight_map": []})
    _refused(folder, "index.json has no weight_map")


def test_weights_saved_without_the_head_get_their_prefix_and_lose_their_buffers(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    model.transformer.save_pretrained(tmp_path)
    bare = load_file(tmp_path / "model.safetensors")
    assert "h.0.ln_1.weight" in bare
    save_file({**bare, "h.0.attn.bias": np.ones((1, 1, 4, 4), np.bool_)}, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(str(tmp_path))
    expected = tensors_of(model)
    assert checkpoint.names() == tuple(sorted(expected))
    for name, value in expected.items():
        np.testing.assert_array_equal(checkpoint.read(name), value)


@pytest.mark.parametrize("keep", [0, 5, 200, 0.5])
def test_truncated_weights_are_refused(keep: float, folder: Path) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    _refused(folder, r"model\.safetensors is truncated or corrupt \(.+\); download it again")


def test_missing_tensors_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = load_file(path)
    for name in ("model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight", "model.norm.weight"):
        save_file({key: value for key, value in whole.items() if key != name}, path)
        _refused(folder, rf"tiny lacks 1 tensors \({name}\)")
    save_file({key: value for key, value in whole.items() if ".layers.1." not in key}, path)
    _refused(folder, r"tiny lacks 12 tensors \(model\.layers\.1\.")
    save_file(whole, path)
    _edit_config(folder, tie_word_embeddings=False)
    _refused(folder, r"tiny lacks lm_head\.weight, and its config does not tie the head")
    _edit_config(folder, tie_word_embeddings=True, num_hidden_layers=1, layer_types=None)
    _refused(folder, "has layer 1, but its config names 1 layers")
    for count in (10**4, 10**7):
        _edit_config(folder, num_hidden_layers=count)
        _refused(folder, "tensors, but its config names .* layers; download it again")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", "64"),
        ("intermediate_size", -1),
        ("num_key_value_heads", 0),
        ("num_attention_heads", 1.5),
        ("head_dim", -1),
        ("vocab_size", ""),
        ("vocab_size", 10**30),
        ("max_position_embeddings", 1e308),
        ("rms_norm_eps", "x"),
        ("rms_norm_eps", []),
        ("rope_theta", 0),
        ("rope_theta", True),
        ("partial_rotary_factor", 1e308),
        ("sliding_window", "x"),
        ("torch_dtype", []),
        ("dtype", 1.5),
        ("layer_types", 5),
        ("layer_types", [1]),
        ("tie_word_embeddings", "yes"),
        ("quantization_config", "x"),
        ("rope_scaling", 2),
        ("text_config", {"hidden_size": "64"}),
    ],
)
def test_a_field_of_another_type_or_range_is_named(folder: Path, field: str, value: object) -> None:
    _edit_config(folder, **{field: value})
    _refused(folder, rf"tiny: config\.json: .*{'hidden_size' if field == 'text_config' else field} is .*, expected ")


@pytest.mark.parametrize("layer", ["5000", "999999999", "9" * 5000])
def test_a_layer_without_end_is_refused(folder: Path, layer: str) -> None:
    whole = load_file(folder / "model.safetensors")
    whole[f"model.layers.{layer}.mlp.up_proj.weight"] = whole["model.layers.0.mlp.up_proj.weight"]
    save_file(whole, folder / "model.safetensors")
    for count in (2, None):
        _edit_config(folder, num_hidden_layers=count)
        _refused(folder, "has a layer|is no name of a tensor|num_hidden_layers is None")


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "x" * 2000])
def test_names_of_tensors_that_no_line_could_show_are_refused(folder: Path, name: str) -> None:
    whole = load_file(folder / "model.safetensors")
    save_file({**whole, name: np.zeros(2, np.float32)}, folder / "model.safetensors")
    _refused(folder, "is no name of a tensor")


@pytest.mark.parametrize(
    "file", ["../x", "/etc/passwd", "a/b", "a\\b", "x\n", "x\ue000", "", ".", "y" * 300, None, 5, ["x"]]
)
def test_an_index_names_files_beside_it_alone(folder: Path, file: object) -> None:
    (folder / "model.safetensors").unlink()
    _write_json(folder / "model.safetensors.index.json", {"weight_map": {"model.norm.weight": file}})
    _refused(folder, "which is no plain file name")


def test_types_that_are_no_floats_are_refused(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    whole["model.norm.weight"] = whole["model.norm.weight"].astype(np.int8)
    whole["model.layers.0.mlp.up_proj.weight"] = np.zeros((96, 64), ml_dtypes.float8_e4m3fn)
    save_file(whole, folder / "model.safetensors")
    _refused(folder, r"up_proj\.weight is F8_E4M3; model\.norm\.weight is I8; EdgeLoRA reads BF16, F16")


def test_broken_configs_are_refused(folder: Path) -> None:
    path = folder / "config.json"
    good = path.read_text(encoding="utf-8")
    for text, message in [
        ("", r"config\.json is not JSON"),
        ('{"model_type": ', r"config\.json is not JSON"),
        ("[1]", r"config\.json holds \[1\]; expected a JSON object"),
        ("{}", r"config\.json has no model_type"),
    ]:
        path.write_text(text, encoding="utf-8")
        _refused(folder, message)
    path.write_bytes(b'{"model_type": "\xff"}')
    _refused(folder, r"config\.json is not JSON")
    path.write_text(good, encoding="utf-8")
    (folder / "generation_config.json").write_text("{", encoding="utf-8")
    _refused(folder, r"generation_config\.json is not JSON")
    path.unlink()
    _refused(folder, r"tiny has no config\.json")
    _write_json(folder / "adapter_config.json", {})
    _refused(folder, "tiny is an adapter; give the base model")


def test_a_quantization_config_counts_where_tensors_are_no_floats(folder: Path) -> None:
    _edit_config(folder, quantization_config={"quant_method": "gptq"})
    notes = open_checkpoint(str(folder)).notes
    assert "config.json has a quantization_config, but every tensor is float; it was ignored." in notes
    whole = load_file(folder / "model.safetensors")
    whole["model.layers.0.mlp.up_proj.qweight"] = np.zeros((8, 96), np.int32)
    save_file(whole, folder / "model.safetensors")
    _refused(folder, r"tiny is already quantized \('gptq': model\.layers\.0\.mlp\.up_proj\.qweight is I32\)")


def test_weights_in_other_formats_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    shutil.copy(weights, folder / "b.safetensors")
    weights.rename(folder / "a.safetensors")
    _refused(folder, "tiny has 2 safetensors files and no index")
    (folder / "a.safetensors").unlink()
    assert open_checkpoint(str(folder)).names()
    (folder / "b.safetensors").unlink()
    _refused(folder, r"tiny has no model\.safetensors; download the weights")
    torch.save({}, folder / "pytorch_model.bin")
    _refused(folder, r"tiny has pytorch_model\.bin, which can run code .*save_pretrained it as safetensors")


def test_what_is_no_model_at_all_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path / "nothing", "does not exist; give a Hugging Face folder, a GGUF file or a hub id")
    _refused("missing/model.gguf", "does not exist")
    (tmp_path / "weights.safetensors").write_bytes(b"\x08")
    _refused(tmp_path / "weights.safetensors", "is no GGUF file; for safetensors give the folder")


def test_end_tokens_come_from_every_place_that_names_them(folder: Path) -> None:
    _edit_config(folder, eos_token_id=[5, 2])
    _write_json(folder / "generation_config.json", {"eos_token_id": 9})
    assert open_checkpoint(str(folder)).eos_token_ids == (9, 5, 2)
    _write_json(folder / "generation_config.json", {"eos_token_id": [2, 9]})
    assert open_checkpoint(str(folder)).eos_token_ids == (2, 9, 5)
    (folder / "generation_config.json").unlink()
    _edit_config(folder, eos_token_id=None)
    assert open_checkpoint(str(folder)).eos_token_ids == ()
    _save_tokenizer(folder, {"eos_token": "</s>"})
    assert open_checkpoint(str(folder)).eos_token_ids == (2,)
    _edit_config(folder, eos_token_id="</s>")
    _refused(folder, "eos_token_id is '</s>'; expected an integer or a list")


def _save_tokenizer(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{c: i + 3 for i, c in enumerate("abcé ")}}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", settings)
    return tokenizer


def test_tokenizer_comes_along_untouched(folder: Path) -> None:
    assert open_checkpoint(str(folder)).tokenizer is None
    assert "speaks token ids alone" in open_checkpoint(str(folder)).notes[0]
    settings = {"bos_token": {"content": "<s>", "special": True}, "eos_token": "</s>", "pad_token": None}
    original = _save_tokenizer(folder, settings)
    _write_json(folder / "special_tokens_map.json", {"unk_token": "<unk>"})
    files = open_checkpoint(str(folder)).tokenizer
    assert files is not None
    assert files.tokenizer_json == (folder / "tokenizer.json").read_text(encoding="utf-8")
    assert (files.bos_token, files.eos_token, files.pad_token, files.unk_token) == ("<s>", "</s>", None, "<unk>")
    ours = Tokenizer.from_str(files.tokenizer_json)
    for text in varied_strings():
        assert ours.encode(text).ids == original.encode(text).ids
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    _refused(folder, r"tokenizer\.json is not JSON")


def test_chat_template_is_found_where_it_may_be(folder: Path) -> None:
    def template(settings: dict[str, Any]) -> str | None:
        _save_tokenizer(folder, settings)
        files = open_checkpoint(str(folder)).tokenizer
        assert files is not None
        return files.chat_template

    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "é\n{{ x }}"}]
    assert template({}) is None
    assert template({"chat_template": "plain"}) == "plain"
    assert template({"chat_template": named}) == "é\n{{ x }}"
    assert template({"chat_template": named[:1]}) is None
    (folder / "chat_template.jinja").write_text("of its own\n", encoding="utf-8")
    assert template({"chat_template": "plain"}) == "of its own\n"


def test_other_tokenizer_files_are_converted(folder: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*alphabet, "ab", "<|endoftext|>"])}
    tiny_model("qwen2", vocab_size=len(vocabulary)).save_pretrained(folder)
    _write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\na b\n", encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"})
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.tokenizer is not None
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer.tokenizer_json)
    assert tokenizer.encode("abab").ids == [vocabulary["ab"]] * 2
    assert "transformers converted vocab.json" in checkpoint.notes[0]
    assert vocabulary["<|endoftext|>"] in checkpoint.eos_token_ids
    (folder / "vocab.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"no model")
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": LlamaTokenizerFast.__name__})
    _refused(
        folder,
        r"has no tokenizer\.json, and transformers cannot convert tokenizer\.model \(.+\); put a tokenizer\.json",
    )


def test_a_tensor_that_is_not_there_is_named(folder: Path) -> None:
    checkpoint = open_checkpoint(str(folder))
    for ask in (checkpoint.read, checkpoint.shape, checkpoint.packed):
        with pytest.raises(CheckpointError, match=r"tiny has no tensor 'lm_head\.weight'"):
            ask("lm_head.weight")


def test_hub_id_is_read_from_the_cache_of_huggingface_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = folder.parent / "cache"
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = cache / "models--some-org--Tiny-Qwen"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(folder.parent)
    checkpoint = open_checkpoint("some-org/Tiny-Qwen")
    assert checkpoint.name == "Tiny-Qwen"
    local = open_checkpoint(str(folder))
    assert checkpoint.names() == local.names()
    np.testing.assert_array_equal(checkpoint.read("model.norm.weight"), local.read("model.norm.weight"))
    _refused(
        "some-org/Other", r"some-org/Other is no local path and cannot be fetched from the Hugging Face hub \(.+\);"
    )
    _refused("some-org/--", "cannot be fetched from the Hugging Face hub")

    older = "fedcba9876543210fedcba9876543210fedcba98"
    shutil.copytree(folder, repository / "snapshots" / older)
    config = json.loads((folder / "config.json").read_text())
    (repository / "snapshots" / older / "config.json").write_text(json.dumps(config | {"eos_token_id": 7}))
    (repository / "refs" / "v1").write_text(older)
    for revision in ("v1", older):
        checkpoint = open_checkpoint(f"some-org/Tiny-Qwen@{revision}")
        assert (checkpoint.name, checkpoint.config["eos_token_id"]) == ("Tiny-Qwen", 7)
    _refused("some-org/Tiny-Qwen@v2", r"^some-org/Tiny-Qwen@v2 is no local path .* check the name, the revision and")
