"""The tokenizer of the native runtime against the tokenizers library: same ids, same text, for every kind of file.

Knows nothing about models. ``EDGELORA_TOKENIZER_TEXTS`` is how many texts each tokenizer gets, 300 where it is not set.
"""

import itertools
import json
import os
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.native.conftest import ROOT
from tests.native.tokenize_program import TokenizeProgram
from tests.tokenizer_texts import varied_texts

COUNT = int(os.environ.get("EDGELORA_TOKENIZER_TEXTS", "300"))
SPECIALS = ("<|begin|>", "<|end|>", "<unk>", "<|user|>")

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {
    "gpt2": GPT2,
    "llama3": LLAMA3,
    "qwen2": LLAMA3.replace("{1,3}", ""),
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
        r"|\s+(?!\S)|\s"
    ),
    "o200k": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "kimi": (
        r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "han": r"[\p{Han}]+|[^\S\r\n]+|\w+|[^\w\s]|\b",
    "deepseek": r"[!-/:-~]?[A-Za-z]+|[\p{P}\$\+<=>\^~\|]+|[一-龥ࠀ-一가-퟿]+|\s?\p{M}+|^\s|.$",
}


@cache
def corpus() -> list[str]:
    """The project's own pages."""
    pages = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
    return [line for page in pages for line in page.splitlines()]


def trained(tokenizer: Tokenizer, trainer: Any, texts: Sequence[str] = ()) -> Tokenizer:
    tokenizer.train_from_iterator(texts or [*corpus(), *varied_texts(600, seed=7)], trainer)
    return tokenizer


def byte_level(pre_tokenizer: Any, normalizer: Any = None, size: int = 700, **options: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    return trained(tokenizer, trainer)


def split(*patterns: str, behavior: str = "isolated", invert: bool = False, **options: Any) -> Tokenizer:
    parts = [pre_tokenizers.Split(Regex(pattern), behavior, invert) for pattern in patterns]
    rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return byte_level(pre_tokenizers.Sequence([*parts, rest]), **options)


def sentence_piece(**options: Any) -> Tokenizer:
    known = {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True, **options}
    tokenizer = Tokenizer(models.BPE(**known))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256) if known["byte_fallback"])]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=specials, show_progress=False, limit_alphabet=150)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trained(tokenizer, trainer)
    tokenizer.pre_tokenizer = None
    return tokenizer


@cache
def unigram_model() -> dict[str, Any]:
    """Trained once, as that takes seconds."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = metaspace("always")
    trained(
        tokenizer,
        trainers.UnigramTrainer(vocab_size=800, special_tokens=list(SPECIALS), unk_token="<unk>", show_progress=False),
        corpus(),
    )
    read: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return read


def unigram(pre_tokenizer: Any, normalizer: Any = None, decoder: Any = None, byte_fallback: bool = False) -> Tokenizer:
    model = unigram_model()
    more = [(f"<0x{byte:02X}>", -20.0) for byte in range(256)] if byte_fallback else []
    pieces = [*((token, score) for token, score in model["vocab"]), *more]
    tokenizer = Tokenizer(models.Unigram(pieces, model["unk_id"], byte_fallback))
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if decoder is not None:
        tokenizer.decoder = decoder
    return tokenizer


def word_piece(normalizer: Any, pre_tokenizer: Any, cleanup: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.WordPiece(cleanup=cleanup)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *SPECIALS]
    trained(tokenizer, trainers.WordPieceTrainer(vocab_size=900, special_tokens=names, show_progress=False))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def with_added(tokenizer: Tokenizer, *tokens: AddedToken) -> Tokenizer:
    for token in tokens:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer


def with_ends(tokenizer: Tokenizer, processor: Any = None) -> Tokenizer:
    template = processors.TemplateProcessing(
        single="<|begin|> $A <|end|>", pair="$A $B", special_tokens=[("<|begin|>", 0), ("<|end|>", 1)]
    )
    tokenizer.post_processor = processor or processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def conformance(name: str) -> Tokenizer:
    return Tokenizer.from_file(str(ROOT / "runtime" / "conformance" / name / "tokenizer.json"))


def metaspace(scheme: str, is_split: bool = True) -> Any:
    return pre_tokenizers.Metaspace("▁", scheme, is_split)


def word_level() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])
    return trained(
        tokenizer, trainers.WordLevelTrainer(vocab_size=800, special_tokens=list(SPECIALS), show_progress=False)
    )


def suffixed() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(False)]
    )
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=list(SPECIALS),
        show_progress=False,
        end_of_word_suffix="</w>",
        limit_alphabet=120,
    )
    return trained(tokenizer, trainer)


def prefixed() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(" ")
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=list(SPECIALS), show_progress=False, continuing_subword_prefix="##",
        limit_alphabet=100,
    )  # fmt: skip
    return trained(tokenizer, trainer)


def added() -> Tokenizer:
    """Added tokens with every option, some of which lie in one another or are found only when normalized."""
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), normalizers.Lowercase())
    return with_added(
        tokenizer,
        AddedToken("<|pad|>", special=True, lstrip=True),
        AddedToken("<|PAD|>x", special=True, rstrip=True, normalized=True),
        AddedToken("the", single_word=True, normalized=True),
        AddedToken("The", single_word=True, normalized=False),
        AddedToken("and model", lstrip=True, rstrip=True, normalized=True),
        AddedToken("мир", single_word=True, lstrip=True),
        AddedToken("   ", normalized=False),
        AddedToken("\n\n", normalized=False, rstrip=True),
        AddedToken("a", special=False, normalized=False, single_word=True),
        AddedToken("界", normalized=False),
    )


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    **{name: lambda name=name: conformance(name) for name in ("tiny-float", "tiny-blank")},
    **{name: lambda pattern=pattern: with_ends(split(pattern)) for name, pattern in SPLITS.items()},
    "whole words first": lambda: split(LLAMA3, ignore_merges=True),
    "NFC": lambda: split(SPLITS["qwen2"], normalizer=normalizers.NFC()),
    "several splits": lambda: split(r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
    "added tokens": added,
    **{
        f"{behavior} {invert}": lambda behavior=behavior, invert=invert: split(
            r"\s+|[[:punct:]]", behavior=behavior, invert=invert, size=400
        )
        for behavior in ("removed", "isolated", "contiguous", "merged_with_previous", "merged_with_next")
        for invert in (False, True)
    },
    "SentencePiece BPE": lambda: with_ends(sentence_piece()),
    "SentencePiece BPE with more": lambda: with_added(
        sentence_piece(),
        AddedToken("the", single_word=True, normalized=True),
        AddedToken("  ", normalized=True),
        AddedToken(" model", normalized=False, rstrip=True),
        AddedToken("мир", lstrip=True),
        AddedToken("<|pad|>", special=True, normalized=True),
    ),
    "without bytes": lambda: sentence_piece(byte_fallback=False),
    "unknown one by one": lambda: sentence_piece(byte_fallback=False, fuse_unk=False),
    "words' ends": suffixed,
    "words' middles": prefixed,
    "Unigram": lambda: unigram(metaspace("always"), normalizers.NFKC(), decoders.Metaspace()),
    "Unigram first": lambda: unigram(metaspace("first"), None, decoders.Metaspace(prepend_scheme="first")),
    "Unigram whole": lambda: unigram(metaspace("first", False), None, decoders.Metaspace(prepend_scheme="first")),
    "Unigram bytes": lambda: unigram(
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace("never")]),
        normalizers.Sequence([normalizers.Nmt(), normalizers.NFKD()]),
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never")]),
        byte_fallback=True,
    ),
    "WordPiece": lambda: word_piece(normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()),
    "WordPiece cased": lambda: word_piece(
        normalizers.BertNormalizer(lowercase=False, clean_text=False), pre_tokenizers.Whitespace(), cleanup=False
    ),
    "WordLevel": word_level,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_has_the_ids_of_the_library(family: str, built: Path, tmp_path: Path) -> None:
    tokenizer = FAMILIES[family]()
    specials = [token.content for token in tokenizer.get_added_tokens_decoder().values()][:14]
    TokenizeProgram(built / "tokenize", tmp_path).compare(tokenizer, varied_texts(COUNT, specials))


@pytest.mark.parametrize("family", ["gpt2", "llama3", "qwen2"])
def test_what_is_cut_by_hand_is_what_the_regular_expression_cuts(family: str, built: Path, tmp_path: Path) -> None:
    some = ["a", "S", "'", "s", "v", "E", "l", "1", " ", "\t", "\n", "\r", "!", "é", "\u017f", "\u00a0", "\u0301"]
    texts = ["".join(parts) for parts in itertools.product(some, repeat=3)]
    draw = random.Random(5)
    texts += ["".join(draw.choices(some, k=draw.randint(4, 16))) for _ in range(3000)]
    TokenizeProgram(built / "tokenize", tmp_path).compare(split(SPLITS[family]), texts)
