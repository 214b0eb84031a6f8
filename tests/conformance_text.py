"""Conformance cases of text alone: conversations through templates of their own, without an artifact.

Knows nothing about models; ``tests/conformance_build.py`` writes these cases beside those of the artifacts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgelora_runtime.errors import EdgeLoraError, InputError
from edgelora_runtime.rendering import Renderer, parse_date
from tests.conformance_templates import TEMPLATES

_USER = {"role": "user", "content": " Où est 東京? "}
_SYSTEM = {"role": "system", "content": "Be brief."}
_ANSWER = {"role": "assistant", "content": "yes"}
_TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"città": {"type": "string"}}}},
    }
]
_CALLS = {"tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"città": "Zürich"}}}]}
_CALLING = {"role": "assistant", "content": "", **_CALLS}
_RESULT = {"role": "tool", "name": "weather", "content": '{"t": 3}'}
_PARTS = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]

_PLAIN = (
    "{{ bos }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
_WITH_TOOLS = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool.function | tojson }}\n{% endfor %}</tools>{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}"
    "{% if m.content %}{{ m.content }}{% endif %}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function.name }}"
    "{{ call.function.arguments | tojson }}{% endfor %}"
    "</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
_WANTS_PARTS = (
    "{% for m in messages %}<{{ m.role }}>{% for part in m.content %}"
    "{% if part.type == 'text' %}[{{ part.text }}]{% endif %}{% endfor %}{% endfor %}"
)
_TAKES_BOTH = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}[{{ part.text }}]{% endfor %}{% endif %}{% endfor %}"
)
_THINKING = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
)
_DEAF = (
    "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}<{{ m.role }}>{{ m.content }}{% endif %}"
    "{% endfor %}"
)
_DATED = "{{ strftime_now('%d %B %Y, %Y-%m-%d') }}{% for m in messages %}{{ m.content }}{% endfor %}"

_GIVEN: tuple[tuple[str, str, list[Any], dict[str, Any]], ...] = (
    ("text", _PLAIN, [_SYSTEM, _USER], {}),
    ("no generation prompt", _PLAIN, [_USER, _ANSWER], {"add_generation_prompt": False}),
    ("a variable", _PLAIN, [_USER], {"variables": {"bos": "<s>"}}),
    ("parts where text is wanted", _PLAIN, [{"role": "user", "content": _PARTS}], {}),
    ("no parts", _PLAIN, [{"role": "user", "content": []}], {}),
    ("text where parts are wanted", _WANTS_PARTS, [_SYSTEM, _USER], {}),
    ("parts where parts are wanted", _WANTS_PARTS, [{"role": "user", "content": _PARTS}], {}),
    ("text where both will do", _TAKES_BOTH, [_USER], {}),
    ("parts where both will do", _TAKES_BOTH, [{"role": "user", "content": _PARTS}], {}),
    ("tools", _WITH_TOOLS, [_USER], {"tools": _TOOLS}),
    ("tool calls", _WITH_TOOLS, [_USER, _CALLING, _RESULT], {"tools": _TOOLS}),
    ("tool calls without content", _WITH_TOOLS, [_USER, {"role": "assistant", **_CALLS}, _RESULT], {}),
    ("tool calls with null", _WITH_TOOLS, [_USER, {**_CALLING, "content": None}, _RESULT], {"tools": []}),
    ("keys that are null", _WITH_TOOLS, [_USER, {**_ANSWER, "tool_calls": None, "reasoning_content": None}, _USER], {}),
    ("reasoning", _WITH_TOOLS, [_USER, {**_ANSWER, "reasoning_content": "hm"}, _USER], {}),
    ("an empty tool result that the template ignores", _DEAF, [_USER, _ANSWER, {**_RESULT, "content": ""}], {}),
    ("thinking as it is", _THINKING, [_USER], {}),
    ("thinking off", _THINKING, [_USER], {"variables": {"enable_thinking": False}}),
    ("thinking on", _THINKING, [_USER], {"variables": {"enable_thinking": True}}),
    ("a date", _DATED, [_USER], {"date": "2026-02-01"}),
    # Refused, by the words that name what is wrong:
    ("content is null", _PLAIN, [{"role": "user", "content": None}], {}),
    ("content is missing", _PLAIN, [_USER, {"role": "assistant"}], {}),
    ("content is a number", _PLAIN, [{"role": "user", "content": 3}], {}),
    ("a picture", _PLAIN, [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], {}),
    ("a part without text", _PLAIN, [{"role": "user", "content": [{"type": "text"}]}], {}),
    ("a part that is a string", _PLAIN, [{"role": "user", "content": ["one"]}], {}),
    ("no role", _PLAIN, [{"content": "x"}], {}),
    ("no messages", _PLAIN, [], {}),
    ("tools that the template ignores", _PLAIN, [_USER], {"tools": _TOOLS}),
    ("tool calls that the template ignores", _PLAIN, [_USER, _CALLING, _RESULT], {}),
    ("tool results that the template ignores", _DEAF, [_USER, _ANSWER, _RESULT], {}),
    ("tools that are none", _WITH_TOOLS, [_USER], {"tools": ["weather"]}),
    ("a variable that every template gets", _PLAIN, [_USER], {"variables": {"messages": []}}),
    ("a variable that is no name", _PLAIN, [_USER], {"variables": {"a-b": 1}}),
    ("no day", _DATED, [_USER], {"date": "2026-02-30"}),
    ("a day in another form", _DATED, [_USER], {"date": "1 Feb 2026"}),
)
_WORDS = {
    "content is null": "message 0", "content is missing": "message 1", "content is a number": "message 0",
    "a picture": "image_url", "a part without text": "part 0", "a part that is a string": "part 0",
    "no role": "message 0", "no messages": "messages", "tools that the template ignores": "no place for tools",
    "tool calls that the template ignores": "no place for tool_calls", "tools that are none": "tool 0",
    "tool results that the template ignores": "no place for messages of the role tool",
    "a variable that every template gets": "messages", "a variable that is no name": "a-b", "no day": "2026-02-30",
    "a day in another form": "1 Feb 2026",
}  # fmt: skip


def render_cases() -> Iterator[dict[str, Any]]:
    """Every conversation with the text that it becomes, or words of the message that refuses it."""
    for name, template, messages, options in _GIVEN:
        case = {"kind": "render", "name": f"render {name}", "template": template, "messages": messages, **options}
        try:
            yield {**case, "expected_text": render(case)}
        except InputError as error:
            assert _WORDS[name] in str(error), (name, error)
            yield {**case, "message_has": _WORDS[name]}
    for name, template in TEMPLATES.items():
        case = {"kind": "render", "name": f"language: {name}", "template": template, "messages": [_SYSTEM, _USER]}
        case["date"] = "2026-02-01"
        case["may_refuse"] = True
        try:
            yield {**case, "expected_text": render(case)}
        except EdgeLoraError:
            yield {**case, "message_has": "the chat template"}


def render(case: dict[str, Any]) -> str:
    """What a case asks for."""
    template = Renderer(case["template"]).replace(case.get("variables", {}), parse_date(case.get("date")))
    return template.render(case["messages"], case.get("add_generation_prompt", True), case.get("tools"))
