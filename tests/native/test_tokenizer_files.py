"""What the native tokenizer makes of files that are rare, broken or made to hurt.

Knows nothing about honest tokenizers, which tests/native/test_tokenizer.py compares one by one.
"""

import json
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers

from tests.native.tokenize_program import TokenizeProgram
from tests.tokenizer_texts import varied_texts

INVALID_INPUT = 1  # the number of this kind of error

REPLACEMENTS = {"①": "1", "ﬁ": "fi", "é": "e", "e\u0301": "E", "Å": "", "\t": " ", "語": "go", "ab": "x", "\u200d": " "}

BPE = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "é": 3, " ": 4, "\u0301": 5, "\u0323": 6}, "merges": ["a b"]}


@pytest.fixture
def program(built: Path, tmp_path: Path) -> TokenizeProgram:
    return TokenizeProgram(built / "tokenize", tmp_path)


def pack_charsmap(replacements: Mapping[str, str]) -> bytes:
    """The table as SentencePiece writes it: the size of a double array, the array, and texts that end with a zero."""
    texts, keys = b"", {}
    for key, value in replacements.items():
        keys[key.encode()] = len(texts)
        texts += value.encode() + b"\0"
    units, bases, next_base = {0: 0}, set(), 256
    waiting = [(0, b"")]
    while waiting:
        place, prefix = waiting.pop()
        labels = sorted({key[len(prefix)] for key in keys if key.startswith(prefix) and len(key) > len(prefix)})
        while next_base in bases or any(next_base ^ label in units for label in (0, *labels)):
            next_base += 1
        bases.add(next_base)
        base = next_base
        units[place] |= (place ^ base) << 10
        if prefix in keys:
            units[place] |= 1 << 8
            units[base] = 1 << 31 | keys[prefix]
        for label in labels:
            units[base ^ label] = label
            waiting.append((base ^ label, prefix + bytes([label])))
    array = b"".join(struct.pack("<I", units.get(place, 0)) for place in range(max(units) + 257))
    return struct.pack("<I", len(array)) + array + texts


def test_a_table_of_sentence_piece_replaces_as_in_the_library(program: TokenizeProgram) -> None:
    vocabulary = [("<unk>", 0.0), *((character, -1.0) for character in "abcxyzfigoeE1 é語①ﬁ")]
    tokenizer = Tokenizer(models.Unigram(vocabulary, 0, False))
    tokenizer.normalizer = normalizers.Precompiled(pack_charsmap(REPLACEMENTS))
    assert tokenizer.normalizer.normalize_str("①ﬁ é e\u0301 Å 語ab") == "1fi e E  goab"
    texts = [*REPLACEMENTS, *varied_texts(300), "abc 語\u200d語ab e\u0301\u0301 éab" * 9]
    program.compare(tokenizer, texts, words=False)  # a letter that a table takes away has a word in the library alone


def changed(**changes: Any) -> str:
    return json.dumps({"version": "1.0", "model": BPE, **changes})


def model(**changes: Any) -> str:
    return changed(model={**BPE, **changes})


def regex(pattern: str) -> str:
    return changed(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    )


def nested(kind: str, list_: str, depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "Sequence", list_: []}
    for _ in range(depth):
        value = {"type": "Sequence", list_: [value]}
    return {kind: value}


REFUSED = {
    "no JSON": ("{", "is not JSON"),
    "no model": ("{}", "has no model with a vocab"),
    "no object": ("[]", "has no model with a vocab"),
    "vocab is a list": (model(vocab=[]), "has no object vocab"),
    "id is negative": (model(vocab={"a": -1}), "has the id -1, expected one of 0 to 2147483647"),
    "id is a text": (model(vocab={"a": "1"}), "has the id '1'"),
    "id beyond int32": (model(vocab={"a": 2**31}), "has the id 2147483648"),
    "merge of a stranger": (model(merges=["a x"]), "needs the token 'ax', which vocab lacks"),
    "merge of one": (model(merges=["a"]), "is no two tokens with a blank between them"),
    "merge of three": (model(merges=[["a", "b", "c"]]), "is no pair of tokens"),
    "unigram": (model(type="Unigram", vocab=[["a"]]), "expected a token and its score"),
    "unk_id": (model(type="Unigram", vocab=[["a", 0.0]], unk_id=1), "unk_id is 1, which vocab does not have"),
    "no base64": (changed(normalizer={"type": "Precompiled", "precompiled_charsmap": "é"}), "is not base64"),
    "table ends": (changed(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAB"}), "ends too early"),
    "template": (
        changed(post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}]}),
        "special_tokens lacks 'x'",
    ),
}

NOT_KNOWN = {
    "dropout": (model(dropout=0.1), "a BPE model with dropout"),
    "model": (model(type="Other"), "the model 'Other'"),
    "normalizer": (changed(normalizer={"type": "Other"}), "the normalizer 'Other'"),
    "pre-tokenizer": (changed(pre_tokenizer={"type": "UnicodeScripts"}), "the pre-tokenizer 'UnicodeScripts'"),
    "decoder": (changed(decoder={"type": "CTC"}), "the decoder 'CTC'"),
    "post-processor": (changed(post_processor={"type": "Other"}), "the post-processor 'Other'"),
    "normalizers too deep": (changed(**nested("normalizer", "normalizers", 20)), "normalizers nested too deep"),
    "pre-tokenizers too deep": (changed(**nested("pre_tokenizer", "pretokenizers", 20)), "nested too deep"),
    "decoders too deep": (changed(**nested("decoder", "decoders", 20)), "decoders nested too deep"),
    "post-processors too deep": (changed(**nested("post_processor", "processors", 20)), "nested too deep"),
    "empty intersection": (regex("[a&&]"), "&& in a class with nothing beside it"),
    "deep classes": (regex("[a" * 60 + "]" * 60), "classes nested more than 10 deep"),
    "back reference": (regex(r"(a)\1"), r"has \1"),
    "unknown escape": (regex(r"\q"), r"has \q"),
    "hex byte": (regex(r"\xff"), "\\x of a byte beyond ASCII"),
    "sharp s": (regex("(?i:ss)"), "'ss' in a part that disregards case"),
    "upper case of no case": (regex(r"(?i)\p{Lu}"), "a set of one case"),
    "property": (regex(r"\p{Nothing}"), "the regular expression '\\\\p{Nothing}'"),
    "conditional": (regex("(?(1)a|b)"), "has the group"),
    "absent": (regex("(?~a)"), "has the group"),
    "lookbehind without length": (regex("(?<=a+)b"), "lookbehind assertion is not fixed length"),
    "deep groups": (regex("(" * 60 + ")" * 60), "groups nested more than 50 deep"),
    "added token": (
        changed(normalizer={"type": "Strip"}, added_tokens=[{"id": 9, "content": " ", "normalized": True}]),
        "the added token ' ', of which nothing is left",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_file_is_refused(name: str, program: TokenizeProgram) -> None:
    check_refusal(*REFUSED[name], program)


@pytest.mark.parametrize("name", NOT_KNOWN)
def test_what_is_not_known_is_refused_by_name(name: str, program: TokenizeProgram) -> None:
    content, has = NOT_KNOWN[name]
    error = check_refusal(content, has, program)
    assert error.startswith("tokenizer.json asks for what the native runtime does not have: ")
    assert error.endswith("; run it with the Python or the JavaScript runtime")


def check_refusal(content: str, has: str, program: TokenizeProgram) -> str:
    done = program.run(content, [])
    assert (done.returncode, done.stdout) == (2, "")
    (error,) = done.stderr.splitlines()
    assert has in error and len(error) < 500
    return error


HURTING = {
    "one letter": (changed(), "a" * 1_000_000),
    "merges": (changed(), "ab" * 300_000),
    "huge ids": (model(vocab={"a": 2**31 - 1, "b": 2**30, "ab": 2}), "ab" * 9),
    "blanks": (regex(r"\s*[\r\n]+|\s+(?!\S)|\s+"), " " * 300_000),
    "marks out of order": (changed(normalizer={"type": "NFC"}), "a" + "\u0301\u0323" * 200_000),
    "added tokens": (
        changed(added_tokens=[{"id": 9 + n, "content": "a" * (900 + n) + "b"} for n in range(50)]),
        "a" * 300_000,
    ),
    "unigram": (
        model(type="Unigram", unk_id=0, vocab=[["a" * n, -1.0] for n in range(1, 100)]),
        "a" * 100_000,
    ),
    "one word": (
        model(
            type="WordPiece", vocab={"[UNK]": 0, "a": 1, "##a": 2, "a" * 400 + "b": 3}, max_input_chars_per_word=10**9
        ),
        "a" * 100_000,
    ),
}


@pytest.mark.parametrize("name", HURTING)
def test_no_text_takes_long(name: str, program: TokenizeProgram) -> None:
    content, text = HURTING[name]
    start = time.monotonic()
    told = program.ask(content, [text])
    assert time.monotonic() - start < 30  # a second or two where it is not much slower than the text is long
    assert told[1]["ids"] == told[1]["plain"] != []


def test_a_regular_expression_that_runs_away_is_stopped(program: TokenizeProgram) -> None:
    _, told = program.ask(regex("(?:a|b|ab)*c"), ["ab" * 3000 + "dc"])
    assert told["code"] == INVALID_INPUT
    assert "its regular expression gave up: match limit exceeded" in told["error"]


def test_a_normalizer_that_grows_without_end_is_stopped(program: TokenizeProgram) -> None:
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    _, told = program.ask(changed(normalizer={"type": "Sequence", "normalizers": [double] * 64}), ["a"])
    assert told["code"] == INVALID_INPUT
    assert "its rules make it longer than 33554432 bytes" in told["error"]


def test_ids_that_are_no_token_give_no_text(program: TokenizeProgram) -> None:
    _, *told = program.ask(changed(), [[0, 77, 2**31 - 1, 1], [-1], []])
    assert told[0]["whole"] == told[0]["skipped"] == "a b"
    assert told[1]["code"] == INVALID_INPUT and "-1 is negative" in told[1]["error"]
    assert told[2]["whole"] == ""


def test_a_text_that_no_token_writes_is_refused(program: TokenizeProgram) -> None:
    unknown = model(type="WordLevel", vocab={"a": 0}, unk_token="[UNK]")
    _, known, refused = program.ask(unknown, ["a", "b"])
    assert known["ids"] == [0]
    assert refused["code"] == INVALID_INPUT and "it lacks the word 'b'" in refused["error"]
