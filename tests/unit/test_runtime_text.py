"""Tokenizer, chat template, streaming and stop strings, against transformers; knows nothing about graphs."""

import random
import sys
import time
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from edgelora_runtime.errors import ArtifactError, InputError
from edgelora_runtime.generation import Row, Usage
from edgelora_runtime.stream import StopFilter, StreamDecoder
from edgelora_runtime.text import Tokenizer

FOLDER = Path(__file__).resolve().parents[2] / "runtime" / "conformance" / "tiny-float"
JSON = (FOLDER / "tokenizer.json").read_text(encoding="utf-8")
TEXTS = ["", "plain", "Zürich 東京 🚀", "👩‍🔬👩‍🔬", "a\ufffdb", "  two  blanks\n\t", "é" * 9, "<|user|>x<|end|>"]


def make(template: str | None = None) -> Tokenizer:
    return Tokenizer.from_text(JSON, template, bos_token="<|begin|>", eos_token="<|end|>")


@pytest.mark.parametrize("text", TEXTS)
def test_streamed_pieces_join_to_the_text_and_split_no_character(text: str) -> None:
    tokenizer = make()
    ids = tokenizer.encode(text)
    decoder = StreamDecoder(tokenizer)
    pieces = [decoder.push(token) for token in ids] + [decoder.flush()]
    assert "".join(pieces) == tokenizer.decode(ids)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_streaming_random_tokens_equals_decoding_them() -> None:
    tokenizer = make()
    draw = random.Random(0)
    for _ in range(30):
        ids = [draw.randrange(384) for _ in range(40)]
        decoder = StreamDecoder(tokenizer)
        joined = "".join([decoder.push(token) for token in ids] + [decoder.flush()])
        assert joined == tokenizer.decode(ids)


def test_an_unfinished_character_comes_at_the_end_as_a_replacement() -> None:
    tokenizer = make()
    decoder = StreamDecoder(tokenizer)
    first, *rest = tokenizer.encode("Ж", special=False)
    if not rest:  # the tokenizer knows the letter whole: take one byte of a character that it does not
        first, *rest = tokenizer.encode("Ѩ", special=False)
    assert rest
    assert decoder.push(first) == ""
    assert decoder.flush() == "\ufffd"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("hello world", ("wor",), "hello "),
        ("hello world", ("x", "o w", "hello w"), ""),
        ("aaab", ("aab",), "a"),
        ("abab abac", ("abac",), "abab "),
        ("ends with sto", ("stop",), "ends with sto"),
        ("東京タワー", ("タワ",), "東京"),
        ("no stops", (), "no stops"),
    ],
)
def test_stop_strings_never_come_out(text: str, stops: tuple[str, ...], expected: str, size: int) -> None:
    filtering, shown = StopFilter(stops), []
    for start in range(0, len(text), size):
        shown.append(filtering.push(text[start : start + size]))
        assert "".join(shown) == expected[: len("".join(shown))]
    assert filtering.is_stopped == (expected != text)
    assert "".join(shown) + filtering.flush() == expected


def test_a_row_knows_at_once_that_a_stop_string_came_and_shows_nothing_of_it() -> None:
    tokenizer = make()
    row = Row(tokenizer, ["no"], (), prompt_tokens=7, started=time.perf_counter())
    ids, shown, asked = tokenizer.encode("yes no maybe left", special=False), "", 0
    for token in ids:
        asked += 1
        shown += row.push(token)
        if row.is_stopped:
            break
    found = row.end("length")
    assert (shown + row.flush(), found.text, found.finish_reason) == ("yes ", "yes ", "stop")
    assert asked < len(ids)
    assert found.token_ids == tuple(ids[:asked])
    assert found.usage == Usage(7, asked)
    assert (found.timings.first_token_ms or -1) >= 0
    assert (found.timings.tokens_per_second or 0) > 0


@pytest.mark.parametrize(
    "template",
    [
        "{{ bos_token }}{% for m in messages %}\n  {% if loop.first %}\nX\n  {% endif %}\n{{ m | tojson }}{% endfor %}",
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m['content'] }}{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}{{ eos_token }}",
        "{% if tools is not none %}tools{% endif %}{{ pad_token }}{{ messages | tojson(indent=2) }}",
        "{% if add_generation_prompt %}go{% endif %}{{ strftime_now('%Y')[:2] }}{{ messages[0].get('name', '-') }}",
    ],
)
@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_templates_render_as_transformers_does(template: str, add_generation_prompt: bool) -> None:
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(FOLDER / "tokenizer.json"), bos_token="<|begin|>", eos_token="<|end|>"
    )
    theirs.chat_template = template
    messages = [{"role": "system", "content": "Sé breve <&>"}, {"role": "user", "content": "東京\n'x' \"y\""}]
    expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    assert make(template).render(messages, add_generation_prompt) == expected


def test_what_a_template_refuses_is_one_line() -> None:
    user = [{"role": "user", "content": "x"}]
    with pytest.raises(InputError, match="no chat template"):
        make().render(user)
    with pytest.raises(InputError, match="refuses these messages: only one"):
        make("{{ raise_exception('only one') }}").render(user)
    with pytest.raises(InputError, match="refuses"):
        make("{{ ''.__class__.__mro__ }}").render(user)
    with pytest.raises(ArtifactError, match="malformed"):
        make("{% for %}").render(user)
    with pytest.raises(InputError, match="at least one"):
        make("x").render([])
    with pytest.raises(InputError, match="message 0"):
        make("x").render(["hello"])  # type: ignore[list-item]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {}}'])
def test_files_that_are_no_tokenizer(content: str) -> None:
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        Tokenizer.from_text(content)


@pytest.mark.parametrize("package", ["tokenizers", "jinja2"])
def test_missing_packages_are_named_with_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}.*pip install 'edgelora-runtime\[text\]'"):
        make("x").render([{"role": "user", "content": "x"}])
