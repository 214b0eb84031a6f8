"""Builds the ``tokenizers`` tokenizer that a GGUF file describes.

Metadata -> TokenizerFiles, notes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from edgelora.checkpoint.gguf.config import Metadata
from edgelora.errors import CheckpointError
from edgelora.values import TokenizerFiles
from edgelora_runtime.parse_json import parse_json, show

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
_SPACE = "\u2581"  # SentencePiece writes a space as this block

# The patterns that the model families publish in their own tokenizer.json.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST_WITH_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_LETTERS}|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_LETTERS}|\p{{N}}|{_REST}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*")
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_TEKKEN = rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}|{_REST_WITH_SLASH}"
_GPT4O = rf"{_CASED[0]}{_CONTRACTION}|{_CASED[1]}{_CONTRACTION}|\p{{N}}{{1,3}}|{_REST_WITH_SLASH}"
_CJK = "[一-龥ࠀ-一가-퟿]+"
_DEEPSEEK_CODER = ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}")
_UNNAMED = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")  # llama.cpp's choice where a file names none

_SPLITS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "olmo", "mpt", "jais", "exaone4", "gigachat", "granite-docling"), (_GPT2,)),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), (r"\p{N}", _GPT2)
    ),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "smaug-bpe", "dbrx"), (_LLAMA3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"), (_QWEN2,)),
    **dict.fromkeys(("gpt-4o", "llama4"), (_GPT4O,)),
    "tekken": (_TEKKEN,),
    "deepseek-coder": _DEEPSEEK_CODER,
    "default": _UNNAMED,
}
_WHOLE_WORDS_FIRST = frozenset({"llama-bpe", "llama3", "llama-v3", "falcon3", "tekken"})  # they also add BOS by default
_NFC = frozenset({"qwen2"})


def build_tokenizer(metadata: Metadata) -> tuple[TokenizerFiles | None, tuple[str, ...]]:
    """The tokenizer of a GGUF file and notes on what had to be assumed; None when the file has no vocabulary.

    Raises ``CheckpointError`` for a kind of tokenizer or a pre-tokenizer that is not known.
    """
    kind = metadata.text("tokenizer.ggml.model", "none")
    if kind in ("none", "no_vocab"):
        return None, ()
    tokens = _tokens(metadata)
    notes: tuple[str, ...] = ()
    stored = metadata.get("tokenizer.huggingface.json")
    if isinstance(stored, str):
        tokenizer_json = stored
        parse_json(stored, f"{metadata.file}: tokenizer.huggingface.json", CheckpointError, "download it again")
    elif kind == "gpt2":
        pre = metadata.text("tokenizer.ggml.pre", "default")
        tokenizer_json = _byte_level(metadata, tokens, pre).to_str()
        if pre == "default":
            notes = ("The file does not name its pre-tokenizer; llama.cpp's default was used and may split otherwise.",)
    elif kind == "llama":
        tokenizer_json = _sentence_piece(metadata, tokens).to_str()
    else:
        raise CheckpointError(f"{metadata.file} has a tokenizer of kind {kind!r}; EdgeLoRA reads gpt2 and llama")
    template = metadata.get("tokenizer.chat_template")
    files = TokenizerFiles(
        tokenizer_json=tokenizer_json,
        chat_template=template if isinstance(template, str) else None,
        bos_token=_special(metadata, tokens, "bos"),
        eos_token=_special(metadata, tokens, "eos"),
        pad_token=_special(metadata, tokens, "padding"),
        unk_token=_special(metadata, tokens, "unknown"),
    )
    return files, notes


def declared_end_ids(metadata: Metadata) -> Mapping[str, Any]:
    """What a GGUF file says of the tokens that end an answer: EOS, EOT and EOM, by key."""
    keys = [f"tokenizer.ggml.{kind}_token_id" for kind in ("eos", "eot", "eom")]
    return {key: metadata.get(key) for key in keys}


def _tokens(metadata: Metadata) -> list[str]:
    tokens: list[str] = metadata.items("tokenizer.ggml.tokens")
    if not tokens:
        raise CheckpointError(f"{metadata.file}: metadata key tokenizer.ggml.tokens is missing; download it again")
    return tokens


def _types(metadata: Metadata, tokens: Sequence[str]) -> list[int]:
    types = metadata.items("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    if len(types) != len(tokens):
        raise CheckpointError(f"{metadata.file} has {len(types)} token types for {len(tokens)} tokens")
    return types


def _special(metadata: Metadata, tokens: Sequence[str], kind: str) -> str | None:
    index = metadata.get(f"tokenizer.ggml.{kind}_token_id")
    if index is None:
        return None
    if not hasattr(index, "__index__") or not 0 <= index < len(tokens):
        raise CheckpointError(
            f"{metadata.file}: the {kind} token has id {show(index)}; the vocabulary ends at {len(tokens) - 1}"
        )
    return str(tokens[index])


def _byte_level(metadata: Metadata, tokens: Sequence[str], pre: str) -> Tokenizer:
    if pre not in _SPLITS:
        raise CheckpointError(
            f"{metadata.file} has the pre-tokenizer {pre!r}; EdgeLoRA knows {', '.join(sorted(_SPLITS))}"
        )
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [_pair(merge) for merge in metadata.items("tokenizer.ggml.merges")]
    for left, right in merges:
        if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise CheckpointError(f"{metadata.file}: the merge {left!r} {right!r} is not in the vocabulary")
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre in _WHOLE_WORDS_FIRST))
    if pre in _NFC:
        tokenizer.normalizer = normalizers.NFC()
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in _SPLITS[pre]]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for index, kind in enumerate(_types(metadata, tokens)):
        if kind in (_CONTROL, _USER_DEFINED):
            _add(tokenizer, tokens[index], special=kind == _CONTROL)
    _add_ends(tokenizer, metadata, tokens, bos=pre in _WHOLE_WORDS_FIRST)
    return tokenizer


def _sentence_piece(metadata: Metadata, tokens: Sequence[str]) -> Tokenizer:
    types = _types(metadata, tokens)
    scores = metadata.items("tokenizer.ggml.scores")
    if len(scores) != len(tokens):
        raise CheckpointError(f"{metadata.file} has {len(scores)} token scores for {len(tokens)} tokens")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    mergeable = {
        token: score
        for token, score, kind in zip(tokens, scores, types, strict=True)
        if kind in (_NORMAL, _USER_DEFINED)
    }
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges_by_score(mergeable, vocabulary),
            unk_token=_special(metadata, tokens, "unknown"),
            fuse_unk=True,
            byte_fallback=all(token in vocabulary for token in _BYTE_TOKENS),
        )
    )
    spaces = normalizers.Replace(" ", _SPACE)
    back = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    prefixed = bool(metadata.values.get("tokenizer.ggml.add_space_prefix", True))
    if prefixed:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), spaces])
        tokenizer.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)])
    else:
        tokenizer.normalizer = spaces
        tokenizer.decoder = decoders.Sequence(back)
    phi3 = metadata.text("general.architecture") == "phi3"
    for index, kind in enumerate(types):
        token = tokens[index]
        if kind in (_UNKNOWN, _CONTROL):
            # Phi-3 swallows the spaces after its markers; GGUF has no field for that.
            _add(tokenizer, token, special=True, rstrip=phi3 and token not in ("<unk>", "<s>", "<|endoftext|>"))
        elif kind == _USER_DEFINED:
            _add(tokenizer, token, special=False, normalized=not prefixed, rstrip=phi3 and token == "</s>")
    _add_ends(tokenizer, metadata, tokens, bos=True)
    return tokenizer


def _merges_by_score(mergeable: Mapping[str, float], vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """SentencePiece joins the pair whose result scores highest; as a merge list that is every split of every token."""
    merges: list[tuple[float, int, int, tuple[str, str]]] = []
    for token, score in mergeable.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in mergeable and right in mergeable:
                merges.append((-score, vocabulary[left], vocabulary[right], (left, right)))
    return [pair for *_, pair in sorted(merges)]


def _add(tokenizer: Tokenizer, text: str, *, special: bool, normalized: bool = False, rstrip: bool = False) -> None:
    token = AddedToken(text, normalized=normalized, special=special, rstrip=rstrip)
    if special:
        tokenizer.add_special_tokens([token])
    else:
        tokenizer.add_tokens([token])


def _add_ends(tokenizer: Tokenizer, metadata: Metadata, tokens: Sequence[str], *, bos: bool) -> None:
    """Make ``encode`` put BOS before and EOS after a text where the file says so; ``bos`` is the family's default."""
    template = ["$A"]
    specials: list[tuple[str, int]] = []
    for name, default in (("bos", bos), ("eos", False)):
        token = _special(metadata, tokens, name)
        wanted = metadata.values.get(f"tokenizer.ggml.add_{name}_token", default)
        if token is None or not wanted:
            continue
        template = [token, *template] if name == "bos" else [*template, token]
        specials.append((token, int(metadata.integer(f"tokenizer.ggml.{name}_token_id"))))
    if specials:
        pair = [piece.replace("$A", "$B:1") for piece in template]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, pair=[*template, *pair], special_tokens=specials
        )


def _pair(merge: str) -> tuple[str, str]:
    cut = merge.find(" ", 1)
    return merge[:cut], merge[cut + 1 :]
