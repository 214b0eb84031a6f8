"""What the commands of ``edgelora[cli]`` may not import, and what every module may not need while it is imported.

The packages are hidden from a process of its own; ``python -m tests.packages`` tries the same where they are not there.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_adapter_store import environment

CONFORMANCE = Path(__file__).resolve().parents[2] / "runtime" / "conformance"
OF_COMPILE = (
    "torch", "transformers", "safetensors", "gguf", "peft", "accelerate", "mobius", "onnxscript", "optimum",
    "sentencepiece", "huggingface_hub", "matplotlib",
)  # fmt: skip
OF_POSIX = ("fcntl", "resource", "pwd", "grp", "termios")
HIDE = "import sys\nfor name in {names!r}: sys.modules[name] = None\n"
RUN = "from edgelora.cli import main\nsys.exit(main())"


def call(*arguments: object, hidden: tuple[str, ...] = OF_COMPILE, given: str = "") -> subprocess.CompletedProcess[str]:
    program = HIDE.format(names=hidden) + RUN
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, env=environment(), timeout=120)


def test_an_artifact_is_used_without_the_packages_that_made_it(tmp_path: Path) -> None:
    artifact = shutil.copytree(CONFORMANCE / "tiny-int4", tmp_path / "artifact")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    folder = CONFORMANCE / "tiny-int4" / "adapters" / "eight"
    for words, key in (
        (["inspect", artifact], "slots"),
        (["inspect", folder], "modules"),
        (["run", artifact, "--adapter", "one", "--prompt", "hi", "--max-new-tokens", "3"], "results"),
        (["eval", artifact, rows, "--adapter", "one"], "loss"),
        (["verify", artifact], "passed"),
        (["verify", CONFORMANCE / "tiny-web"], "passed"),
        (["bench", artifact, "--rounds", "1"], "decode_ms"),
        (["adapter", "list", artifact], "adapters"),
        (["adapter", "remove", artifact, "eight"], "removed"),
        (["adapter", "add", artifact, f"eight={folder}"], "added"),
        (["adapter", "truncate", folder, "-o", tmp_path / "cut", "--rank", "2"], "energy_kept"),
        (["adapter", "merge", folder, f"{folder}:-0.5", "-o", tmp_path / "merged"], "relative_error"),
        (["adapter", "diff", folder, tmp_path / "cut"], "cosine"),
        (["adapter", "interference", artifact, "one", "eight", "--prompts", rows], "a"),
    ):
        done = call(*words, "--json")
        assert done.returncode == 0, done.stderr
        assert key in json.loads(done.stdout), words


def test_a_conversation_needs_no_torch() -> None:
    done = call("chat", CONFORMANCE / "tiny-float", "--adapter", "one", "--max-new-tokens", "3", given="hi\n")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["train", "base", "rows", "-o", "out"], "train"),
        (["recover", "base", "rows", "-o", "out"], "train"),
        (["compare", "base", "rows", "--eval-data", "rows", "-o", "out"], "train"),
        (["quantize", "base", "-o", "out"], "compile"),
        (["export", "base", "-o", "out"], "compile"),
        (["adapter", "receipt", "base", "adapter"], "compile"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_command_whose_packages_are_missing_names_its_extra(words: list[str], extra: str) -> None:
    done = call(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert f"pip install 'edgelora[{extra}]'" in done.stderr


def test_commands_without_their_own_packages_name_the_smallest_extra(tmp_path: Path) -> None:
    for hidden in (("typer", *OF_COMPILE), ("onnx_ir", *OF_COMPILE)):
        done = call("verify", CONFORMANCE / "tiny-float", hidden=hidden)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert "pip install 'edgelora[cli]'" in done.stderr


def test_modules_are_imported_where_there_is_no_posix() -> None:
    """As on Windows, which the tests do not have: none of its modules, none of the constants that it lacks."""
    program = HIDE.format(names=(*OF_POSIX, *OF_COMPILE)) + (
        "import importlib, os, pkgutil, signal, warnings\n"
        "for name in ('O_NOFOLLOW', 'O_NONBLOCK', 'O_DIRECTORY', 'sched_getaffinity', 'geteuid', 'getuid', 'fork'):\n"
        "    delattr(os, name)\n"
        "for name in ('SIGKILL', 'SIGHUP', 'SIGALRM'):\n    delattr(signal, name)\n"
        "warnings.simplefilter('ignore')  # of filelock, which would take msvcrt there\n"
        "import edgelora_runtime, edgelora.cli\n"
        "names = [found.name for found in pkgutil.iter_modules(edgelora_runtime.__path__, 'edgelora_runtime.')]\n"
        "light = ('run', 'chat', 'eval', 'verify', 'bench', 'inspect', 'adapter')\n"
        "names += ['edgelora.cli.' + name for name in light]\n"
        "for name in names: importlib.import_module(name)\n"
        "model = edgelora_runtime.load(sys.argv[1])\n"
        "print(len(names), model.generate('hi', max_new_tokens=2).finish_reason)\n"
    )
    command = [sys.executable, "-c", program, str(CONFORMANCE / "tiny-float")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 30
