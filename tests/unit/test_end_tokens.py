"""The tokens that end an answer: the same from a folder and a GGUF file, told where inferred, and in the vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from gguf_files import tiny_model, write_gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.tokenizer import vocabulary_size
from edgelora.data.probes import probe_prompts
from edgelora.errors import CheckpointError
from edgelora.torch_model.build import load_torch
from edgelora.values import Checkpoint

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OWN = CHATML.replace("<|im_end|>", "<turn_is_over>")
BY_NAME = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token if m.role == 'assistant' }}{% endfor %}"
NEXT_ROLE = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}<|assistant|>"
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{{ '<|assistant|>' if add_generation_prompt else eos_token }}"
)
NOTHING = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
SYSTEM_ONLY = "{{ raise_exception('no') }}<|im_end|>"
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<turn_is_over>", "<|user|>", "<|assistant|>", "<|end|>",
)  # fmt: skip


def _tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return tokenizer


def _id(token: str) -> int:
    return 256 + SPECIAL.index(token)


def _folder(folder: Path, template: str | None, **config: Any) -> Checkpoint:
    """A qwen2 whose config, and tokenizer_config.json, name <|endoftext|> alone; no generation_config.json."""
    sizes = {"vocab_size": 256 + len(SPECIAL), "eos_token_id": _id("<|endoftext|>"), **config}
    tiny_model("qwen2", **sizes).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|endoftext|>", **({} if template is None else {"chat_template": template})}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return open_checkpoint(str(folder))


def _gguf(path: Path, template: str | None) -> Checkpoint:
    def write(writer: gguf.GGUFWriter) -> None:
        del writer.kv_data[0]["tokenizer.ggml.model"]
        vocabulary = _tokenizer().get_vocab()
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(sorted(vocabulary, key=lambda token: vocabulary[token]))
        writer.add_token_types([1] * 256 + [3] * len(SPECIAL))
        writer.kv_data[0]["tokenizer.ggml.eos_token_id"].value = _id("<|endoftext|>")
        if template is not None:
            writer.add_chat_template(template)

    write_gguf(path, "qwen2", tiny_model("qwen2", vocab_size=256 + len(SPECIAL)), extra=write)
    return open_checkpoint(str(path))


@pytest.mark.parametrize(
    ("template", "inferred"),
    [
        (CHATML, "<|im_end|>"),
        (OWN, "<turn_is_over>"),
        (PHI, "<|end|>"),
        (NEXT_ROLE, "<|user|>"),
        (SYSTEM_ONLY, "<|im_end|>"),
        (BY_NAME, None),
        (NOTHING, None),
        ("{{ broken", None),
        (None, None),
    ],
)
def test_a_folder_and_a_gguf_stop_at_the_same_tokens(
    template: str | None, inferred: str | None, tmp_path: Path
) -> None:
    expected = (_id("<|endoftext|>"), *([] if inferred is None else [_id(inferred)]))
    for checkpoint in (_folder(tmp_path / "folder", template), _gguf(tmp_path / "tiny.gguf", template)):
        assert checkpoint.eos_token_ids == expected
        told = [note for note in checkpoint.notes if "which no config names as an end token" in note]
        assert len(told) == (0 if inferred is None else 1)
        assert inferred is None or repr(inferred) in told[0]


def test_what_is_declared_already_is_no_news(tmp_path: Path) -> None:
    ids = [_id("<|endoftext|>"), _id("<|im_end|>")]
    checkpoint = _folder(tmp_path, CHATML, eos_token_id=ids)
    assert checkpoint.eos_token_ids == tuple(ids)
    assert not any("end token" in note for note in checkpoint.notes)


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize("value", [96, 200000, -2, [2, 96]])
def test_end_tokens_beyond_the_embedding_are_refused(value: Any, tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    _edit(tmp_path / "config.json", eos_token_id=value)
    beyond = value[-1] if isinstance(value, list) else value
    with pytest.raises(CheckpointError, match=rf"eos_token_id.* is {beyond}, but the embedding has 96 rows"):
        open_checkpoint(str(tmp_path))


@pytest.mark.parametrize("key", ["bos_token_id", "pad_token_id"])
def test_start_and_padding_beyond_the_embedding_are_left_out_with_a_note(key: str, tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    _edit(tmp_path / "config.json", **{key: 50256})
    checkpoint = open_checkpoint(str(tmp_path))
    assert checkpoint.config[key] is None
    assert f"{key} is 50256 and was left out: the embedding has 96 rows." in checkpoint.notes
    load_torch(checkpoint, None)


def test_end_tokens_of_every_place_are_held_to_the_embedding(tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 96]}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"eos_token_id of generation_config\.json is 96, but the embedding has"):
        open_checkpoint(str(tmp_path))
    (tmp_path / "generation_config.json").unlink()
    _tokenizer().save(str(tmp_path / "tokenizer.json"))
    _edit(tmp_path / "config.json", vocab_size=96)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=rf"the tokenizer's eos_token is {_id('<|im_end|>')}, but the embedding"):
        open_checkpoint(str(tmp_path))


def test_minus_one_says_that_there_is_none(tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink(missing_ok=True)
    _edit(tmp_path / "config.json", pad_token_id=-1, bos_token_id=-1, eos_token_id=[-1, 2])
    checkpoint = open_checkpoint(str(tmp_path))
    assert checkpoint.eos_token_ids == (2,)
    assert (checkpoint.config["pad_token_id"], checkpoint.config["bos_token_id"]) == (None, None)


def test_tokens_that_were_added_without_a_row_are_noted_and_never_fed(tmp_path: Path) -> None:
    tiny_model("qwen2", vocab_size=256, eos_token_id=2).save_pretrained(tmp_path)
    tokenizer = _tokenizer()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHATML}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    checkpoint = open_checkpoint(str(tmp_path))
    assert vocabulary_size(checkpoint) == 256
    assert checkpoint.eos_token_ids == (2,)
    (note,) = (note for note in checkpoint.notes if "has no place for" in note)
    assert "has 7 tokens that the embedding of 256 rows has no place for ('<|endoftext|>', '<|im_start|>'," in note
    prompts = probe_prompts(checkpoint)
    assert prompts and max(map(max, prompts)) < 256


_TEMPLATE = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 257)])


@pytest.mark.parametrize(
    "processor",
    [
        _TEMPLATE,
        processors.Sequence([processors.ByteLevel(), _TEMPLATE]),
        processors.BertProcessing(("<|endoftext|>", 256), ("<|im_start|>", 257)),
    ],
)
def test_a_token_around_every_text_must_have_a_row(processor: Any, tmp_path: Path) -> None:
    tokenizer = _tokenizer()
    tokenizer.post_processor = processor
    for rows in (257, 258):
        tiny_model("qwen2", vocab_size=rows, eos_token_id=2).save_pretrained(tmp_path)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        if rows == 258:
            open_checkpoint(str(tmp_path))
            continue
        with pytest.raises(
            CheckpointError, match=r"puts '<\|im_start\|>' \(id 257\) around every text, but .+ 257 rows"
        ):
            open_checkpoint(str(tmp_path))
