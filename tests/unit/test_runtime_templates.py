"""Chat templates of strangers: rendered as transformers renders them, and one line for what no chat needs."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.errors import CheckpointError
from edgelora_runtime import ArtifactError, EdgeLoraError, InputError
from edgelora_runtime.chat_template import LONGEST_TEXT, ChatTemplate
from edgelora_runtime.text import Tokenizer
from tests.fuzz.seeds import TEMPLATES, tokenizer_files

MESSAGES = [
    {"role": "user", "content": "  Où est 東京?\n"},
    {"role": "assistant", "content": "<b>there</b>"},
    {"role": "user", "content": ""},
]
SAME = [
    "{% set n = namespace(x=[]) %}{% for m in messages %}{% set n.x = n.x + [(m, {'a': [m]})] %}{% endfor %}{{ n.x }}",
    "{{ [1, (2,), {}] }}{{ ('a', []) == ('a', []) }}{{ {'a': {'b': ()}} | tojson }}{{ [[1], [2]] * 2 }}{{ [] + [3] }}",
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{{ loop.revindex0 }}{{ loop.changed(m.role) }}{{ loop.cycle(1, 2) }}{% endfor %}",
    "{% for k, v in messages[0].items() %}{{ k ~ '=' ~ v ~ 1 ~ none ~ true }}{% else %}x{% endfor %}",
    "{% for m in nothing %}{{ m }}{% else %}none{% endfor %}{% for c in 'abc' %}{{ c }}{% endfor %}",
    "{% for m in messages recursive %}{{ m.role }}{% if loop.depth < 3 %}{{ loop([m]) }}{% endif %}{% endfor %}",
    "{% macro f(x, y=2) %}[{{ x }}{{ y }}{{ caller() if caller }}]{% endmacro %}{{ f(1) }}",
    "{% macro f(x) %}[{{ x }}{{ caller() }}]{% endmacro %}{% call f(3) %}z{% endcall %}",
    "{% set ns = namespace(t='') %}{% for i in range(5) %}{% set ns.t = ns.t + 'x' * i %}{% endfor %}{{ ns.t }}",
    "{{ messages | map(attribute='role') | join(', ') }}{{ [1, 2] | join(d='-') }}{{ ['a', 1] | join }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ [3, 1] | sort | first }}",
    "{{ [1, 2] | sum }}{{ 'a-b' | replace('-', '+') }}{{ 'x' | center(5) }}{{ 7 // 2 * 2 ** 3 }}",
    "{{ 'a,b'.split(',') | reverse | list }}{{ '%s:%03d' % ('a', 7) }}{{ '{:>4}'.format('x') }}",
    "{{ 'ab' | indent(2, true) }}",
    "{{ '%s-%s' | format(1, 2) }}{{ 'a'.join(['x', 'y']) }}{{ 'aXa'.replace('X', '') }}",
    "{% set x %}{{ messages[0].content | trim }}{% endset %}{{ x | upper }}{{ x | length }}{{ messages | tojson }}",
    "{% filter upper %}a{% for i in range(3) %}{% if i == 1 %}{% continue %}{% endif %}b{% endfor %}{% endfilter %}",
]


@pytest.mark.parametrize("source", [*SAME, *TEMPLATES[:2]])
def test_what_jinja_gives_is_given(source: str) -> None:
    def fail(message: str) -> None:
        raise jinja2.TemplateError(message)

    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    plain.globals["raise_exception"] = fail
    variables: dict[str, Any] = {"messages": MESSAGES, "add_generation_prompt": True, "bos_token": "<s>"}
    plain.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    assert ChatTemplate(source).render(variables) == plain.from_string(source).render(**variables)


_DOUBLED = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(99) %}{% set ns.x = NEXT %}{% endfor %}LAST"
HOSTILE = [
    *(
        _DOUBLED.replace("NEXT", made).replace("LAST", used)
        for made, used in (
            ("[ns.x, ns.x]", "{{ ns.x }}"),
            ("(ns.x, ns.x)", "{{ ns.x | string }}"),
            ("{'a': ns.x, 'b': ns.x}", "{{ ns.x | tojson }}"),
            ("dict(a=ns.x, b=ns.x)", "{{ ns.x ~ 'x' }}"),
            ("[ns.x, ns.x] | list", "{{ [ns.x] | join }}"),
            ("[[ns.x], [ns.x]]", "{{ ns.x == [[ns.x], [ns.x]] }}"),
            ("[ns.x] + [ns.x]", "{{ ns.x }}"),
            ("namespace(a=ns.x, b=ns.x)", "{{ ns.x }}"),
        )
    ),
    "{{ 'x' * 10**9 }}",
    "{{ ['x'] * 10**9 }}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 1 / 0 }}",
    "{{ 1 % 0 }}",
    "{{ 10.0 ** 400 }}",
    "{{ 9 ** 9999999 }}",
    "{{ 2 ** 4000 * 2 ** 4000 }}",
    "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "{% macro f(n) %}{% if n < 60 %}{{ f(n + 1) }}{{ f(n + 1) }}{% endif %}{% endmacro %}{{ f(0) }}",
    "{% for i in range(5) recursive %}{{ loop(range(9)) }}{% endfor %}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a' | center(1000000000) }}",
    "{{ 'a' | indent(10**9) }}",
    "{{ messages | tojson(indent=10**9) }}",
    "{{ messages | map('center', 10**9) | list }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ (5).to_bytes(10**9, 'big') }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set b = 'x' * 4000000 %}{% for i in range(90000) %}{{ b }}{% endfor %}",
    "{% set b = 'x' * 4000000 %}{% set c %}{% for i in range(90000) %}{{ b }}{% endfor %}{% endset %}",
    "{{ ('x' * 4000000) | replace('x', 'y' * 4000000) }}",
    "{{ ('x' * 4000000).replace('x', 'y' * 4000000) }}",
    "{{ (['x' * 4000000] * 100000) | join }}",
    "{{ ''.join(['x' * 4000000] * 100000) }}",
    "{{ ([[0]] * 100000) | sum(start=[]) }}",
    "{{ ''.__class__.__mro__ }}",
    "{% include 'x' %}",
    "{{ raise_exception('a\\nb\\x1b' * 1000) }}",
    "{{ messages[99].content }}",
    "{{ none + 1 }}",
    "{{ strftime_now(5) }}",
    "{{ 'é'.encode('ascii') }}",
    "{{ cycler().next() }}",
    "{% filter list %}a{% endfilter %}",
]
MALFORMED = [
    "{% foo %}",
    "{{ 'x' | foo }}",
    "{% for",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "[" * 500 + "]" * 500 + " }}",
    "{% if x %}" * 3000,
    "x" * 2_000_000,
    "{{ '\\x' }}",
    "{% set x.y.z = 1 %}{{ 1if }}",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_whatever_an_expression_does_is_one_line(source: str) -> None:
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"the chat template (refuses|cannot use) these messages") as caught:
        ChatTemplate(source).render({"messages": MESSAGES})
    assert time.perf_counter() - started < 20
    assert_line(caught.value)


@pytest.mark.parametrize("source", MALFORMED)
def test_what_is_no_template_is_one_line(source: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="the chat template") as caught:
        ChatTemplate(source)
    assert_line(caught.value)


def test_a_long_conversation_is_no_attack() -> None:
    talk = [{"role": "user", "content": "x" * 1000}, {"role": "assistant", "content": "y" * 1000}] * 500
    text = ChatTemplate(TEMPLATES[1]).render({"messages": talk, "bos_token": "<s>", "eos_token": "</s>"})
    assert 1_000_000 < len(text) < LONGEST_TEXT


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"type":"BPE"', '"type":"XYZ"').replace('"type": "BPE"', '"type": "XYZ"'),
        lambda text: text.replace('"version"', '"vers"', 1),
        lambda text: text[: len(text) // 2],
        lambda text: "[" * 5000,
        lambda text: '{"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 5}}',
        lambda text: '{"model": {"type": "BPE", "vocab": {"a": 4294967295}, "merges": ["a b"]}}',
    ],
)
def test_what_the_tokenizers_library_raises_is_one_line(change: Any) -> None:
    with pytest.raises(EdgeLoraError, match="token") as caught:
        Tokenizer.from_text(change(tokenizer_files()[0].decode())).encode("The fox é")
    assert_line(caught.value)


def test_text_and_ids_that_cannot_be_are_refused() -> None:
    tokenizer = Tokenizer.from_text(tokenizer_files()[0].decode())
    with pytest.raises(InputError, match="cannot encode this text"):
        tokenizer.encode("half \ud800 of it")
    for ids in ([-1], [2**40]):
        with pytest.raises(InputError, match="cannot decode these ids"):
            tokenizer.decode(ids)


def test_a_checkpoint_with_a_malformed_template_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
    for file in folder.glob("chat_template*"):
        file.unlink()
    (folder / "chat_template.jinja").write_text("{% for")
    with pytest.raises(CheckpointError, match="cannot be used for text: the chat template is malformed") as caught:
        open_tokenizer(open_checkpoint(str(folder)))
    assert_line(caught.value)


def assert_line(error: Exception) -> None:
    assert len(str(error)) < 500
    assert str(error).isprintable()
