"""A token that was added to the tokenizer and not to the embedding: its rows are listed, all others count."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from edgelora.cli import main
from tests.tiny import write_checkpoint

ROWS = [
    {"prompt": "a", "completion": "b"},
    {"prompt": "a <|new|>", "completion": "b"},
    {"prompt": "c", "completion": "d"},
]
TOLD = (
    "it holds token 259, and the model ends at 258: a token that was added to the tokenizer, but not to the embedding"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("added") / "base")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<|new|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def _call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code = main([*map(str, arguments), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def test_training_lists_the_row_and_learns_the_others(
    base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--max-steps", 2, "--batch-size", 2, "--rank", 2, "--save-every", 0)
    said = _call(capsys, "train", base, rows, "-o", tmp_path / "adapter", *options)
    assert said["rows"] == {"used": 2, "skipped": [{"line": 2, "reason": TOLD}]}


def test_eval_lists_the_row_and_scores_the_others(
    base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = _call(capsys, "export", base, "-o", tmp_path / "a")["notes"]
    assert any("has 1 tokens that the embedding of 259 rows has no place for ('<|new|>')" in note for note in notes)
    said = _call(capsys, "eval", tmp_path / "a", rows)
    assert said["n"] == 2
    assert main(["run", str(tmp_path / "a"), "--prompt", "x <|new|>"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_calibration_leaves_the_row_out(
    base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _call(
        capsys, "quantize", base, "-o", tmp_path / "g.safetensors", "--quant-method", "gptq", "--calibration", rows
    )  # fmt: skip


def test_recovery_names_the_token_of_a_plain_text(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some words <|new|> and more", encoding="utf-8")
    assert main(["recover", str(base), str(text), "-o", str(tmp_path / "adapter"), "--quant", "int4"]) == 2
    assert f"text.txt cannot be used: {TOLD}" in capsys.readouterr().err.splitlines()[-1]
