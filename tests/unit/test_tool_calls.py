"""Tool calls are found in every form that a template teaches, however the answer arrives, and never shown as text."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgelora_runtime import InputError, Model, load
from edgelora_runtime.manifest import file_info
from edgelora_runtime.tool_calls import CallReader
from tests.conformance_check import FOLDER

CASES = json.loads((FOLDER / "calls.json").read_text(encoding="utf-8"))["cases"]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Bern"}}</tool_call>'
TEMPLATE = (
    "{% if tools %}[{{ tools | tojson }}]{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}({{ c.id }} {{ c.function | tojson }}){% endfor %}{{ m.tool_call_id }}"
    "{% endfor %}"
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case: dict[str, Any]) -> None:
    text = case["text"]
    for size in (1, 2, 3, 7, len(text) + 1):
        reader = CallReader([{"type": "function", "function": {"name": name}} for name in case["tools"]])
        shown = "".join(reader.push(text[start : start + size]) for start in range(0, len(text), size))
        rest, calls = reader.end()
        assert shown + rest == case["expected_text"]
        assert [{"name": call.name, "arguments": call.arguments} for call in calls] == case["expected_calls"]
        assert all(re.fullmatch("[A-Za-z0-9]{9}", call.id) for call in calls)
        assert len({call.id for call in calls}) == len(calls)


def test_text_before_a_call_is_shown_as_it_comes() -> None:
    reader = CallReader([{"name": "x"}])
    pieces = ["Let me ", "look <b>. ", "<tool", "_call>{", '"name": "x"}']
    assert [reader.push(piece) for piece in pieces] == ["Let me ", "look <b>. ", "", "", ""]
    rest, calls = reader.end()
    assert (rest, [call.name for call in calls]) == ("", ["x"])


def test_calls_that_are_nested_without_end_are_text() -> None:
    for text in (
        "<start_function_call>call:x{a:" + "[" * 100_000,
        '<tool_call>{"name":"x","arguments":{"a":' + "[" * 5000 + "]" * 5000 + "}}",
    ):
        reader = CallReader([])
        reader.push(text)
        assert reader.end() == (text, ())


@pytest.fixture
def model(tmp_path: Path) -> Model:
    folder = tmp_path / "artifact"
    shutil.copytree(FOLDER / "tiny-float", folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    info = file_info(folder / "chat_template.jinja")
    manifest["files"]["chat_template.jinja"] = {"bytes": info.bytes, "sha256": info.sha256}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return load(folder, threads=1)


def test_calls_come_out_of_an_answer_and_go_back_in(model: Model) -> None:
    asked = [{"role": "user", "content": [{"type": "text", "text": "How is "}, {"type": "text", "text": "Bern?"}]}]
    answer = model.chat(asked, tools=TOOLS, choices=[f"Let me look. {CALL}"])
    (call,) = answer.tool_calls
    assert (answer.text, call.name, call.arguments) == ("Let me look. ", "get_weather", {"city": "Bern"})
    assert answer.usage.completion_tokens == len(answer.token_ids) > 0
    said = [*asked, answer.message, {"role": "tool", "content": "sunny", "tool_call_id": call.id}]
    assert model.tokenizer is not None
    assert model.tokenizer.render(said, tools=TOOLS).endswith(
        f"<user>How is \nBern?<assistant>Let me look. "
        f'({call.id} {{"name": "get_weather", "arguments": {{"city": "Bern"}}}})<tool>sunny{call.id}'
    )
    assert model.chat(said, tools=TOOLS, max_new_tokens=2).usage.completion_tokens == 2
    unasked = model.chat(asked, choices=[CALL])  # nobody offered a tool
    assert (unasked.text, unasked.tool_calls) == (CALL, ())
    assert unasked.message == {"role": "assistant", "content": CALL}


def test_a_stream_knows_its_answer_as_far_as_it_was_read(model: Model) -> None:
    whole = model.chat([{"role": "user", "content": "x"}], tools=TOOLS, max_new_tokens=12)
    stream = model.chat([{"role": "user", "content": "x"}], tools=TOOLS, max_new_tokens=12, stream=True)
    with pytest.raises(InputError, match=r"^nothing of this answer was read yet; iterate over the stream first$"):
        stream.generation  # noqa: B018
    first = next(stream)
    part = stream.generation
    assert (part.text, part.finish_reason) == (first, "cancelled")
    assert first + "".join(stream) == whole.text
    assert stream.generation == whole
    assert (whole.timings.first_token_ms or 0) > 0
    assert (whole.timings.tokens_per_second or 0) > 0
    left = model.generate("x", max_new_tokens=12, stream=True)
    next(left)
    left.close()
    assert (left.generation.finish_reason, list(left)) == ("cancelled", [])
    assert model.generate("x", max_new_tokens=1).usage.completion_tokens == 1
