"""Whatever ends a command is one line and the right exit code; nothing else is on standard output."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgelora.cli import main
from edgelora.errors import EdgeLoraError
from tests.unit.test_adapter_store import environment

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(item) for item in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def allocator() -> RuntimeError:
    return RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried")


@pytest.mark.parametrize(
    ("error", "code", "parts"),
    [
        (KeyError("decoder.onnx"), 70, ["a fault of edgelora itself", "KeyError: 'decoder.onnx'", "--traceback"]),
        (AssertionError(), 70, ["AssertionError: no more is known"]),
        (ValueError("a\nb" * 900), 70, ["ValueError: a (", "run it again as `edgelora --traceback ...`"]),
        (RecursionError("too deep"), 70, ["RecursionError"]),
        (ImportError("cannot import name 'x'", name="edgelora.grid.make"), 70, ["ImportError"]),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, ["pip install 'edgelora[compile]'"]),
        (ModuleNotFoundError("No module named 'onnx'", name="onnx"), 2, ["pip install 'edgelora[cli]'"]),
        (MemoryError(), 2, ["not enough memory; close other programs", "--low-memory"]),
        (np.exceptions.AxisError("odd"), 70, ["AxisError"]),
        (MemoryError("Unable to allocate 9.00 GiB"), 2, ["not enough memory (Unable to allocate 9.00 GiB)"]),
        (allocator(), 2, ["not enough memory ([enforce fail at"]),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 2, ["/x/y: No space left on device; free some"]),
        (OSError(errno.EMLINK, "Too many links", "/x"), 2, ["/x: Too many links; choose another folder"]),
        (PermissionError(errno.EACCES, "Permission denied", b"/x\xff"), 2, ["/x\\xff: Permission denied; check the"]),
        (OSError(errno.EMFILE, "Too many open files"), 2, ["Too many open files; raise the limit"]),
        (OSError("no number"), 2, ["no number"]),
        (EdgeLoraError("\x1b[31mred\r\nnext\u2028line\0 \udcff"), 2, ["\\x1b[31mred  next line\\x00 \\udcff"]),
        (EdgeLoraError("first " + "x" * 5000 + " last"), 2, ["edgelora: first xx", "xx … xx", "xx last"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_ends_a_command_is_one_line_and_its_exit_code(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    shared_artifact: Path,
    error: BaseException,
    code: int,
    parts: list[str],
) -> None:
    monkeypatch.delenv("EDGELORA_TRACEBACK", raising=False)
    monkeypatch.setattr("edgelora.cli.inspect.read_manifest", raising(error))
    for options in ([], ["--json"]):
        found, out, err = call("inspect", shared_artifact, *options)
        assert (found, out, err.count("\n")) == (code, "", 1)
        assert len(err) <= 500
        assert "Traceback" not in err
        for part in parts:
            assert part in err


def test_a_traceback_is_shown_when_asked_for_before_the_line(
    call: Call, monkeypatch: pytest.MonkeyPatch, shared_artifact: Path
) -> None:
    monkeypatch.setattr("edgelora.cli.inspect.read_manifest", raising(KeyError("decoder.onnx")))
    asked = [["--traceback", "inspect"], ["inspect", "--traceback"]]
    for words in asked:
        code, out, err = call(*words, shared_artifact, "--json")
        assert (code, out) == (70, "")
        assert err.startswith("Traceback (most recent call last):")
        assert err.splitlines()[-1].startswith("edgelora: a fault of edgelora itself")
        assert "(edgelora/cli/inspect.py:" in err
    monkeypatch.setenv("EDGELORA_TRACEBACK", "1")
    assert call("inspect", shared_artifact)[2].startswith("Traceback")
    monkeypatch.setenv("EDGELORA_TRACEBACK", "0")
    assert "Traceback" not in call("inspect", shared_artifact)[2]
    monkeypatch.setattr("edgelora.cli.inspect.read_manifest", raising(EdgeLoraError("mine")))
    assert call("inspect", shared_artifact, "--traceback") == (2, "", "edgelora: mine\n")


def test_a_folder_that_has_the_name_of_a_package_is_not_taken_for_it(
    call: Call, monkeypatch: pytest.MonkeyPatch, shared_artifact: Path, tmp_path: Path
) -> None:
    code = compile("raise KeyError('decoder.onnx')", tmp_path / "edgelora" / "other.py", "exec")
    monkeypatch.setattr("edgelora.cli.inspect.read_manifest", lambda *_: exec(code))
    assert "(edgelora/cli/inspect.py:" in call("inspect", shared_artifact)[2]


def test_a_prompt_may_be_the_name_of_an_option(shared_artifact: Path) -> None:
    command = [sys.executable, "-m", "edgelora", "--traceback", "run", str(shared_artifact), "--prompt=--traceback"]
    done = subprocess.run([*command, "--max-new-tokens", "1"], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("streams", "code"),
    [("> /dev/full", 2), (">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("2>&1 >/dev/full | true", 2), ("< /dev/null", 0)],
)
def test_streams_that_take_nothing_end_in_no_traceback(shared_artifact: Path, streams: str, code: int) -> None:
    command = f"{sys.executable} -m edgelora inspect {shared_artifact} --json {streams}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment())
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if streams == "> /dev/full":
        assert done.stderr == "edgelora: standard output: No space left on device; free some space and run it again\n"


@pytest.mark.parametrize(
    ("rest", "part"),
    [("<&-", "no prompt"), ("< /dev/null", "no prompt"), ("<<< $'\\xff'", "UTF-8"), ("--prompt $'a\\xff'", "UTF-8")],
)
def test_a_prompt_that_is_none_is_told(shared_artifact: Path, rest: str, part: str) -> None:
    command = f"{sys.executable} -m edgelora run {shared_artifact} {rest}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert part in done.stderr


def test_a_name_that_is_no_utf8_is_printed_and_json_stays_json(shared_artifact: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(bytes(tmp_path) + b"/odd-\xff-\xe9")
    shutil.copytree(shared_artifact, odd)
    for encoding in ("utf-8", "ascii", "latin-1"):
        command = [sys.executable, "-m", "edgelora", "adapter", "list", odd, "--json"]
        settings = {**environment(), "PYTHONIOENCODING": encoding}
        done = subprocess.run(command, capture_output=True, env=settings)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout.decode("latin-1"))["adapters"]) == 2
        done = subprocess.run([*command[:5], odd + "x"], capture_output=True, env=settings)
        assert done.returncode == 2
        assert done.stderr.count(b"\n") == 1
        assert b"Traceback" not in done.stderr
