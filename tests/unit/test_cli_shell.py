import subprocess
import sys
from importlib.metadata import version

import pytest

from edgelora.cli import COMMANDS, main
from tests.unit.test_adapter_store import environment


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert (main(["--version"]), *capsys.readouterr()) == (0, f"edgelora {version('edgelora')}\n", "")


@pytest.mark.parametrize(
    ("shell", "line", "parts"),
    [
        ("bash", {"COMP_WORDS": "edgelora run --max", "COMP_CWORD": "2"}, ["--max-new-tokens"]),
        ("bash", {"COMP_WORDS": "edgelora adapter t", "COMP_CWORD": "2"}, ["truncate"]),
        ("bash", {"COMP_WORDS": "edgelora ", "COMP_CWORD": "1"}, list(COMMANDS)),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "edgelora verify --thr"}, ["--threads"]),
    ],
)
def test_a_shell_completes_commands_and_their_options(shell: str, line: dict[str, str], parts: list[str]) -> None:
    asked = environment() | {"_EDGELORA_COMPLETE": f"complete_{shell}"} | line
    command = [sys.executable, "-m", "edgelora"]
    done = subprocess.run(command, capture_output=True, text=True, env=asked, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [part for part in parts if part not in done.stdout] == []
