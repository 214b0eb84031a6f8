"""Streaming, stop strings and answers behind prompts, for any text and any chunks, with three kinds of tokenizers."""

import itertools
from collections.abc import Callable

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers

from edgelora_runtime.generation import Row
from edgelora_runtime.stream import StopFilter, StreamDecoder
from edgelora_runtime.text import Tokenizer
from tests.conformance_models import train_blank_tokenizer, train_tokenizer

TEXT = st.text(
    st.sampled_from("abcde left right 12.\n\téü東京🙂\u200d👩▁Ġ") | st.characters(codec="utf-8"), max_size=30
)


def _words() -> tokenizers.Tokenizer:
    """WordPiece that lowers letters and drops what it does not know, as BERT's does."""
    vocab = ["[UNK]", "[CLS]", "[SEP]", "left", "right", "##s", "a", "b", "1", "2", "."]
    words = tokenizers.Tokenizer(models.WordPiece({token: at for at, token in enumerate(vocab)}, unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.decoder = decoders.WordPiece()
    words.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    return words


MADE = {"bytes": train_tokenizer(), "blank": train_blank_tokenizer(), "words": _words()}
TOKENIZERS = {name: Tokenizer.from_text(made.to_str()) for name, made in MADE.items()}


@pytest.fixture(params=list(TOKENIZERS))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return TOKENIZERS[request.param]


def _exact(tokenizer: Tokenizer) -> bool:
    return tokenizer is not TOKENIZERS["words"]


def _each(check: Callable[..., None], *strategies: st.SearchStrategy[object]) -> None:
    settings(max_examples=150, deadline=None)(given(*strategies)(check))()


def test_streaming_gives_the_text_of_all_tokens(tokenizer: Tokenizer) -> None:
    def check(ids: list[int]) -> None:
        decoder = StreamDecoder(tokenizer)
        assert "".join([decoder.push(token) for token in ids] + [decoder.flush()]) == tokenizer.decode(ids)

    size = 11 if tokenizer is TOKENIZERS["words"] else 384
    # The decoder of bytes behind "blank" takes whole runs back that are no UTF-8, which no stream can.
    of_text = TEXT.map(tokenizer.encode)
    _each(
        check,
        of_text if tokenizer is TOKENIZERS["blank"] else of_text | st.lists(st.integers(0, size - 1), max_size=25),
    )


@given(
    st.lists(st.text("abc東", max_size=4), max_size=12), st.lists(st.text("abc東", min_size=1, max_size=4), max_size=3)
)
def test_a_stop_string_ends_the_text_however_it_is_cut(chunks: list[str], stops: list[str]) -> None:
    stop_filter, whole = StopFilter(stops), "".join(chunks)
    shown = "".join(stop_filter.push(chunk) for chunk in chunks) + stop_filter.flush()
    # The first chunk that completes a stop string decides among several that overlap.
    end, at = None, 0
    for chunk in chunks:
        at += len(chunk)
        found = [place for stop in stops if (place := whole[:at].find(stop)) >= 0]
        if found:
            end = min(found)
            break
    assert stop_filter.is_stopped == (end is not None)
    assert shown == whole[:end]
    assert not any(stop in shown for stop in stops)


@given(st.text("abc東", max_size=30), st.text("abc東", min_size=1, max_size=5), st.data())
def test_one_stop_string_gives_the_same_text_for_any_chunks(text: str, stop: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    stop_filter = StopFilter([stop])
    assert "".join(stop_filter.push(chunk) for chunk in chunks) + stop_filter.flush() == text.split(stop)[0]


def test_an_answer_is_what_follows_the_prompt_and_decodes_to_it(tokenizer: Tokenizer) -> None:
    made = next(made for name, made in MADE.items() if TOKENIZERS[name] is tokenizer)

    def check(prompt: str, answer: str) -> None:
        before = tokenizer.encode_prompt(prompt)
        ids = tokenizer.encode_after(prompt, answer, special=True)
        together = tokenizer.encode(prompt + answer)
        assert [*before, *ids] == together or ids == tokenizer.encode(answer, special=False)
        special = {token for token, added in made.get_added_tokens_decoder().items() if added.special}
        if _exact(tokenizer) and not special & set(ids):
            assert tokenizer.is_decoded(before, ids, answer)

    _each(check, TEXT, TEXT)


def test_tokens_that_are_not_the_answer_are_found_out() -> None:
    words, blank = TOKENIZERS["words"], TOKENIZERS["blank"]
    for answer in ("Left", "left ", "left  right", "ü"):
        assert not words.is_decoded(words.encode("a"), words.encode_after("a ", answer, special=True), answer)
    assert words.is_decoded(words.encode("a"), words.encode_after("a ", "lefts", special=True), "lefts")
    for answer in ("<|user|>left", "left<|end|>"):
        assert not blank.is_decoded([], blank.encode(answer), answer)


def test_a_special_stop_token_ends_a_stream_and_is_not_shown() -> None:
    tokenizer = TOKENIZERS["bytes"]
    ids = tokenizer.encode("left<|user|>right", special=False)
    stops = tokenizer.find_stops(["<|user|>", "xyz"])
    row = Row(tokenizer, [], stops, prompt_tokens=1, started=0.0)
    shown = "".join(row.push(token) for token in itertools.takewhile(lambda _: not row.is_stopped, ids))
    assert shown + row.flush() == "left"
    assert row.end("length").finish_reason == "stop"


def test_special_tokens_are_text_where_they_are_kept() -> None:
    for tokenizer in (TOKENIZERS["bytes"], TOKENIZERS["blank"]):
        ids = tokenizer.encode("left<|user|>right<|user|>", special=False)
        kept = tokenizer.keeping(["<|user|>", "never there"])
        assert tokenizer.decode(ids) == "leftright"
        assert kept.decode(ids) == "left<|user|>right<|user|>"
        decoder = StreamDecoder(kept)
        assert "".join(decoder.push(token) for token in ids) + decoder.flush() == "left<|user|>right<|user|>"
