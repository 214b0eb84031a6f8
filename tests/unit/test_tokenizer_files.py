"""A folder's tokenizer gives the ids of transformers' AutoTokenizer, whichever of its files says what."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers
from gguf_files import tiny_model
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from varied_text import varied_strings

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.errors import CheckpointError
from edgelora.values import Checkpoint

ROWS = 600  # of the embedding; every tokenizer here is smaller
PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast"}


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", "<s>", "</s>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(varied_strings(), trainer)
    return tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama without a tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model("llama", vocab_size=ROWS).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """The llama with a byte-level tokenizer.json that has no post-processor."""
    for path in model.iterdir():
        (tmp_path / path.name).symlink_to(path)
    _byte_level().save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def _write(folder: Path, **files: Any) -> None:
    for stem, content in files.items():
        (folder / f"{stem}.json").write_text(json.dumps(content), encoding="utf-8")


def _equals_auto_tokenizer(folder: Path, *more: str) -> Checkpoint:
    """Every string, alone and with special tokens, and the special tokens themselves."""
    checkpoint = open_checkpoint(str(folder))
    ours = open_tokenizer(checkpoint)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in (*varied_strings()[::4], *more):
        for special in (True, False):
            expected = theirs(text, add_special_tokens=special)["input_ids"]
            assert ours.encode(text, special=special) == expected, (text, special)
    files = checkpoint.tokenizer
    assert files is not None
    for kind in ("bos", "eos", "pad", "unk"):
        assert getattr(files, f"{kind}_token") == theirs.special_tokens_map.get(f"{kind}_token")
    return checkpoint


def _note(checkpoint: Checkpoint, start: str) -> str:
    (note,) = (note for note in checkpoint.notes if note.startswith(start))
    return note


def test_settings_that_agree_leave_the_file_as_it_is(folder: Path) -> None:
    _write(folder, tokenizer_config={**PLAIN, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    checkpoint = _equals_auto_tokenizer(folder)
    assert checkpoint.tokenizer is not None and checkpoint.notes == ()
    assert checkpoint.tokenizer.tokenizer_json == (folder / "tokenizer.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(("bos", "eos"), [(True, False), (True, True), (False, True), (False, False)])
def test_ends_that_the_settings_add_are_added(bos: bool, eos: bool, folder: Path) -> None:
    ends = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": bos, "add_eos_token": eos, **ends}
    _write(folder, tokenizer_config=settings)
    checkpoint = _equals_auto_tokenizer(folder)
    ids = open_tokenizer(checkpoint).encode("a")
    assert (ids[0] == 1, ids[-1] == 2) == (bos, eos)
    assert "change its post processor, which was done" in _note(checkpoint, "The files beside tokenizer.json")


def test_ends_that_the_settings_take_away_are_not_added(folder: Path) -> None:
    tokenizer = _byte_level()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(
        folder,
        tokenizer_config={
            "tokenizer_class": "LlamaTokenizerFast", "add_bos_token": False, "bos_token": "<s>", "eos_token": "</s>",
            "unk_token": "<unk>",
        },
    )  # fmt: skip
    assert open_tokenizer(_equals_auto_tokenizer(folder)).encode("a")[0] != 1


def _added(text: str, **flags: bool) -> dict[str, Any]:
    return {
        "content": text,
        **dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized", "special"), False),
        **flags,
    }


@pytest.mark.parametrize("flags", [{"special": True}, {}, {"lstrip": True}, {"rstrip": True}, {"single_word": True}])
def test_tokens_of_the_settings_alone_are_tokens(flags: dict[str, bool], folder: Path) -> None:
    size = _byte_level().get_vocab_size()
    _write(folder, tokenizer_config={**PLAIN, "added_tokens_decoder": {str(size): _added("<|turn|>", **flags)}})
    checkpoint = _equals_auto_tokenizer(folder, "a <|turn|> b", "<|turn|><|turn|>x", "a<|turn|>")
    assert open_tokenizer(checkpoint).encode("<|turn|>") == [size]
    assert "change its added tokens ('<|turn|>')" in _note(checkpoint, "The files beside tokenizer.json")


def test_tokens_of_older_files_are_tokens(folder: Path) -> None:
    size = _byte_level().get_vocab_size()
    _write(
        folder,
        tokenizer_config=PLAIN,
        added_tokens={"<|turn|>": size},
        special_tokens_map={
            "bos_token": _added("<s>"), "eos_token": "</s>", "additional_special_tokens": ["<|turn|>", "<|tool|>"],
        },
    )  # fmt: skip
    checkpoint = _equals_auto_tokenizer(folder, "a <|turn|> b<|tool|>")
    assert checkpoint.eos_token_ids == (2,)


def test_special_tokens_that_were_plain_words_become_tokens(folder: Path) -> None:
    _write(folder, special_tokens_map={"pad_token": "def", "eos_token": "</s>"}, tokenizer_config=PLAIN)
    _equals_auto_tokenizer(folder, "undefined def")


@pytest.mark.parametrize("prefix", [True, False])
def test_a_blank_in_front_is_put_where_the_settings_say(prefix: bool, folder: Path) -> None:
    tokenizer = _byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=not prefix)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder, tokenizer_config={"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": prefix})
    assert "change its pre tokenizer" in _note(_equals_auto_tokenizer(folder), "The files beside tokenizer.json")


@pytest.mark.parametrize("extra", [{}, {"extra_special_tokens": ["<|turn|>"]}, {"extra_special_tokens": []}])
@pytest.mark.parametrize("kind", ["TokenizersBackend", "PreTrainedTokenizerFast", "LlamaTokenizer"])
def test_what_transformers_5_writes_is_read(kind: str, extra: dict[str, Any], folder: Path) -> None:
    tokenizer = _byte_level()
    tokenizer.add_special_tokens([AddedToken("<|turn|>", normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": kind, "backend": "tokenizers", "eos_token": "</s>", "unk_token": "<unk>", **extra}
    _write(folder, tokenizer_config={**settings, "bos_token": "<s>", "is_local": True, "add_bos_token": True})
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.tokenizer is not None
    assert (checkpoint.tokenizer.bos_token, checkpoint.tokenizer.eos_token) == ("<s>", "</s>")
    assert not any("cannot open" in note for note in checkpoint.notes)
    ids = open_tokenizer(checkpoint).encode("<|turn|>", special=False)
    assert ids == [tokenizer.token_to_id("<|turn|>")]


@pytest.mark.parametrize("kind", [{"tokenizer_class": "OwnTokenizer"}, {"auto_map": {"AutoTokenizer": ["t.A", "t.B"]}}])
def test_a_tokenizer_that_transformers_has_not_is_used_as_it_stands(kind: dict[str, Any], folder: Path) -> None:
    settings = {"tokenizer_class": "OwnTokenizer", **kind, "bos_token": "<s>", "eos_token": _added("</s>")}
    _write(folder, tokenizer_config=settings)
    (folder / "t.py").write_text("raise SystemExit('code of a checkpoint was run')", encoding="utf-8")
    checkpoint = open_checkpoint(str(folder))
    assert "tokenizer.json is used as it stands" in _note(checkpoint, "transformers cannot open this tokenizer (")
    assert checkpoint.tokenizer is not None and checkpoint.tokenizer.bos_token == "<s>"
    assert checkpoint.eos_token_ids == (2,)
    ours, original = open_tokenizer(checkpoint), _byte_level()
    for text in varied_strings():
        assert ours.encode(text) == original.encode(text).ids


@pytest.mark.parametrize(
    "damage",
    [
        {"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}},
        {"pre_tokenizer": {"type": "Magic"}},
        {"added_tokens": [{"id": -1}]},
        {"model": None},
    ],
)
def test_a_tokenizer_json_that_is_none_is_refused_in_one_line(damage: dict[str, Any], folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | damage), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be used: ") as caught:
        open_checkpoint(str(folder))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_tokenizer_json_alone_is_used_as_it_stands(folder: Path) -> None:
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.tokenizer is not None
    assert checkpoint.tokenizer.tokenizer_json == (folder / "tokenizer.json").read_text(encoding="utf-8")
    assert "would change its post processor" in _note(checkpoint, "There is no tokenizer_config.json")


# --- folders without tokenizer.json ---


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model."""
    folder = tmp_path_factory.mktemp("piece")
    (folder / "text.txt").write_text("\n".join(varied_strings()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "tokenizer"), vocab_size=500, model_type="bpe",
        byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
        minloglevel=2, num_threads=1,
    )  # fmt: skip
    return folder / "tokenizer.model"


@pytest.mark.parametrize("settings", [{}, {"legacy": False}, {"add_bos_token": False, "add_eos_token": True}])
def test_a_sentence_piece_model_alone_is_converted(settings: dict[str, Any], folder: Path, piece: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").symlink_to(piece)
    if settings:
        _write(folder, tokenizer_config={"tokenizer_class": "LlamaTokenizer", **settings})
    checkpoint = _equals_auto_tokenizer(folder)
    assert "There is no tokenizer.json; transformers converted tokenizer.model." in checkpoint.notes
    plain = sentencepiece.SentencePieceProcessor(model_file=str(piece))
    for text in ("12345 the quick", "Straße 東京", "a b"):
        assert open_tokenizer(checkpoint).encode(text, special=False) == plain.encode(text)


@pytest.mark.parametrize(
    ("content", "missing", "package"),
    [(None, "sentencepiece", "sentencepiece"), (b"IQ== 0\nIg== 1\n", "tiktoken", "tiktoken")],
)
def test_the_package_that_is_missing_is_named(
    content: bytes | None, missing: str, package: str, folder: Path, piece: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(piece.read_bytes() if content is None else content)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        CheckpointError, match=rf"convert tokenizer\.model \(.+\); .* `pip install {package}`$"
    ) as caught:
        open_checkpoint(str(folder))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_standard_output_stays_what_the_command_says(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    size = _byte_level().get_vocab_size()
    token = {**_added("<|turn|>"), "id": size, "comment": "who knows"}
    _write(folder, tokenizer_config={**PLAIN, "added_tokens_decoder": {str(size): token}})
    assert open_tokenizer(open_checkpoint(str(folder))).encode("<|turn|>") == [size]
    assert capfd.readouterr().out == ""


def test_a_tokenizer_that_nobody_here_reads_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "There is no tokenizer; the model speaks token ids alone." in open_checkpoint(str(folder)).notes
    (folder / "tekken.json").write_text("{}", encoding="utf-8")
    _note(open_checkpoint(str(folder)), "There is no tokenizer, and tekken.json is not read; the model speaks")


# --- chat templates ---


def _template(folder: Path) -> str | None:
    files = open_checkpoint(str(folder)).tokenizer
    assert files is not None
    theirs = transformers.AutoTokenizer.from_pretrained(folder).chat_template
    if (folder / "chat_template.json").is_file() and theirs is None:
        return files.chat_template  # transformers' tokenizers do not read it, its processors do
    assert files.chat_template == (theirs.get("default") if isinstance(theirs, dict) else theirs)
    return files.chat_template


def test_the_chat_template_is_that_of_transformers(folder: Path) -> None:
    _write(folder, chat_template={"chat_template": "processor"}, tokenizer_config=PLAIN)
    assert _template(folder) == "processor"
    _note(open_checkpoint(str(folder)), "The chat template is that of chat_template.json.")
    named = [{"name": "default", "template": "settings"}, {"name": "tool_use", "template": "T"}]
    _write(folder, tokenizer_config={**PLAIN, "chat_template": named})
    assert _template(folder) == "settings"
    _note(open_checkpoint(str(folder)), "There are chat templates with names (default, tool_use); the default one is")
    _note(open_checkpoint(str(folder)), "chat_template.json has another chat template, which transformers' tokenizer")
    (folder / "chat_template.jinja").write_text("jinja\n", encoding="utf-8")
    assert _template(folder) == "jinja\n"
    more = folder / "additional_chat_templates"
    more.mkdir()
    (more / "rag.jinja").write_text("R", encoding="utf-8")
    assert _template(folder) == "jinja\n"
    (folder / "chat_template.jinja").unlink()
    assert _template(folder) is None
    _note(open_checkpoint(str(folder)), "There are chat templates with names (rag); none is called default")


def test_a_template_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja is no text \(.+\); download it again"):
        open_checkpoint(str(folder))
