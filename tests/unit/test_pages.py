"""The commands on the pages exist, with the options that they are given there."""

import re
import shlex
from pathlib import Path

import pytest

from edgelora.cli import main

ROOT = Path(__file__).parent.parent.parent
PAGES = (
    "README.md",
    "docs/quantization.md",
    "docs/results.md",
    *(f"docs/tasks/{path.name}" for path in ROOT.glob("docs/tasks/*.md")),
)


def commands(page: str) -> list[list[str]]:
    """Every command of the code blocks, as words; a line that ends in a backslash goes on."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("edgelora ")]


def test_the_pages_are_read() -> None:
    assert {words[0] for page in PAGES for words in commands(page)} >= {"train", "export", "adapter", "run", "eval"}


@pytest.mark.parametrize("page", PAGES)
def test_every_option_on_a_page_is_one_of_its_command(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(page):
        name = words[: 2 if words[0] == "adapter" else 1]
        assert main([*name, "--help"]) == 0, name
        known = set(re.findall(r"(?<![\w-])-{1,2}[a-z][a-z-]*", capsys.readouterr().out))
        given = {word.split("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)}
        assert given <= known, f"{page}: {shlex.join(words)}"
