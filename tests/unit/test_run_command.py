"""``edgelora run``: choices, penalties and options that several commands share; knows nothing about the runtime."""

import json
from pathlib import Path

import pytest

from edgelora.cli import main
from edgelora_runtime import load

ARTIFACT = Path(__file__).parents[2] / "runtime" / "conformance" / "tiny-float"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["run", str(ARTIFACT), "--prompt", "hello", *arguments]) == 0
    return capsys.readouterr().out


def test_choices_answer_with_one_of_them_and_tell_the_scores(capsys: pytest.CaptureFixture[str]) -> None:
    asked = load(ARTIFACT).generate("hello", choices=["yes", "no"])
    assert run(capsys, "--choices", "yes", "--choices", "no") == f"{asked.text}\n"
    found = json.loads(run(capsys, "--choices", "yes", "--choices", "no", "--json"))["results"][0]
    assert found["text"] == asked.text
    assert asked.choice_scores is not None
    assert found["choice_scores"] == dict(zip(["yes", "no"], asked.choice_scores, strict=True))
    assert "choice_scores" not in json.loads(run(capsys, "--json", "--max-new-tokens", "1"))["results"][0]


def test_a_repetition_penalty_reaches_the_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    said = [run(capsys, "--max-new-tokens", "12", "--repetition-penalty", value) for value in ("1", "50")]
    model = load(ARTIFACT)
    for text, value in zip(said, (1.0, 50.0), strict=True):
        assert text == model.generate("hello", max_new_tokens=12, repetition_penalty=value).text + "\n"
    assert said[0] != said[1]


def test_a_penalty_out_of_range_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(ARTIFACT), "--prompt", "hello", "--repetition-penalty", "0"]) == 2
    assert "repetition_penalty is 0.0, expected" in capsys.readouterr().err


def test_unknown_options_of_a_call_are_a_type_error() -> None:
    model = load(ARTIFACT)
    with pytest.raises(TypeError, match="unexpected options temprature"):
        model.generate("hello", temprature=1.0)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="unexpected options stop"):
        model.generate_ids([1, 2], stop="x")  # type: ignore[call-overload]


def test_a_schema_comes_as_json_or_from_a_file_and_the_answer_keeps_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    schema = json.dumps({"properties": {"day": {"enum": ["Mon", "Tue"]}}, "required": ["day"]})
    (tmp_path / "day.json").write_text(schema, encoding="utf-8-sig")
    said = [run(capsys, "--schema", given, "--max-new-tokens", "30") for given in (schema, str(tmp_path / "day.json"))]
    assert said[0] == said[1]
    assert json.loads(said[0])["day"] in ("Mon", "Tue")
    found = json.loads(run(capsys, "--regex", "ye(s|p)!", "--json"))["results"][0]
    assert found["text"] in ("yes!", "yep!") and found["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--schema", '{"uniqueItems": true}'), 'has "uniqueItems", which is not supported'),
        (("--schema", '{"type"'), "schema is no JSON"),
        (("--schema", "nowhere.json"), "--schema 'nowhere.json' cannot be read"),
        (("--regex", "a(?=b)"), "groups are ( ) or (?: ) alone"),
        (("--regex", "a", "--schema", "{}"), "exclude each other"),
        (("--regex", "a", "--choices", "b"), "exclude choices"),
    ],
)
def test_a_form_that_is_not_read_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert main(["run", str(ARTIFACT), "--prompt", "hello", *arguments]) == 2
    line = capsys.readouterr().err
    assert words in line and line.count("\n") == 1
