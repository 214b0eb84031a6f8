"""Chat templates in native code: the text of jinja2, or refused, and never without end.

Takes nothing -> returns nothing; the project's own setting of jinja2 says what is right.
"""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgelora_runtime.chat_template import ChatTemplate
from edgelora_runtime.errors import EdgeLoraError
from tests.conformance_check import read_cases
from tests.native.odd_templates import CONTEXTS, ODD
from tests.native.template_grammar import Grammar
from tests.unit.test_runtime_templates import HOSTILE, MALFORMED, MESSAGES, SAME

DATE = "2026-02-01"
UNSUPPORTED = 5


def render(program: Path, pairs: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    lines = "".join(
        json.dumps({"template": source, "variables": given, "date": DATE}) + "\n" for source, given in pairs
    )
    done = subprocess.run([program], input=lines, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(found) == len(pairs)
    return found


def render_with_jinja2(source: str, given: dict[str, Any]) -> str | None:
    day = datetime.datetime.combine(datetime.date.fromisoformat(DATE), datetime.time())
    try:
        return ChatTemplate(source).render({**given, "strftime_now": day.strftime})
    except EdgeLoraError:
        return None


def check(program: Path, pairs: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Fails where another text comes out than that of jinja2; the sources that jinja2 alone renders."""
    refused = []
    for (source, given), found in zip(pairs, render(program, pairs), strict=True):
        expected = render_with_jinja2(source, given)
        if "text" in found:
            assert found["text"] == expected, source
        elif expected is not None:
            assert found["code"] == UNSUPPORTED, (source, found)
            refused.append(source)
    return refused


@pytest.fixture(scope="module")
def program(built: Path) -> Path:
    return built / "templates"


def test_the_templates_of_the_conformance_cases(program: Path) -> None:
    cases = [case for case in read_cases() if case["kind"] == "render"]
    assert len(cases) > 100
    pairs = [
        (
            case["template"],
            {"documents": None, "add_generation_prompt": True, "tools": case.get("tools"), "messages": case["messages"]}
            | case.get("variables", {}),
        )
        for case in cases
    ]
    assert check(program, pairs) == []


@pytest.mark.parametrize("given", CONTEXTS)
def test_odd_templates(program: Path, given: dict[str, Any]) -> None:
    assert len(ODD) > 100
    assert check(program, [(source, given) for source in ODD]) == []


def test_templates_that_jinja2_is_held_to(program: Path) -> None:
    given = {"messages": MESSAGES, "add_generation_prompt": True, "bos_token": "<s>"}
    assert check(program, [(source, given) for source in SAME]) == []


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # of the code that jinja2 makes of some of them
def test_random_templates(program: Path) -> None:
    pairs = [(Grammar(seed).template(), CONTEXTS[seed % len(CONTEXTS)]) for seed in range(300)]
    refused = check(program, pairs)
    assert len(refused) < 10, refused
    assert sum("text" in found for found in render(program, pairs)) > 100


def test_hostile_and_malformed_templates_are_refused_in_one_line(program: Path) -> None:
    for found in render(program, [(source, {"messages": MESSAGES}) for source in HOSTILE + MALFORMED]):
        assert found["error"].startswith("the chat template"), found
        assert found["error"].isprintable()
        assert len(found["error"]) < 500


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("a\n{% include 'x' %}", "line 2: the tag 'include'"),
        ("{{ x |\nurlize }}", "line 2: the filter 'urlize'"),
        ("{{ x is\n\nfilter }}", "line 3: the test 'filter'"),
        ("\n{{ x.encode('utf-8') }}", "line 2: the method 'encode'"),
        ("{{ x.__class__ }}", "line 1: the attribute '__class__'"),
    ],
)
def test_what_is_not_known_is_named_with_its_line(program: Path, source: str, told: str) -> None:
    (found,) = render(program, [(source, {})])
    assert found["code"] == UNSUPPORTED
    assert told in found["error"]


def test_the_words_of_a_template_that_refuses(program: Path) -> None:
    (found,) = render(program, [("{{ raise_exception('no tools, ' ~ 'please') }}", {})])
    assert found["error"] == "the chat template refuses these messages: no tools, please"
