"""``edgelora chat``: the real command with lines piped in, and at a terminal; knows nothing about the runtime."""

import contextlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgelora.cli import main
from edgelora_runtime import Model, TextStream, load
from tests.unit.test_adapter_store import environment

ARTIFACT = Path(__file__).parents[2] / "runtime" / "conformance" / "tiny-float"
Talk = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def talk(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Pipe lines into the command in this process: exit code, standard output, lines on standard error."""

    def run(*lines: str, options: tuple[str, ...] = (), artifact: Path = ARTIFACT) -> tuple[int, str, list[str]]:
        piped = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped))
        code = main(["chat", str(artifact), *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


def answers(*turns: tuple[str, str], system: str | None = None, **options: Any) -> str:
    """What the runtime says to (message, adapter) after (message, adapter), as the command prints it."""
    model, said, shown = load(ARTIFACT), [], ""
    if system is not None:
        said.append({"role": "system", "content": system})
    for message, adapter in turns:
        said.append({"role": "user", "content": message})
        text = model.chat(said, adapter=adapter, **options).text
        said.append({"role": "assistant", "content": text})
        shown += f"{text}\n"
    return shown


def test_a_piped_conversation_is_answered_line_by_line() -> None:
    command = [sys.executable, "-m", "edgelora", "chat", str(ARTIFACT), "--adapter", "one", "--max-new-tokens", "8"]
    given = "Grüße\n\n/adapter four:0.5\nand again".encode()  # without an end of line
    done = subprocess.run(
        [*command, "--system", "brief", "--threads", "1"], input=given, capture_output=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    turns = (("Grüße", "one"), ("and again", "four:0.5"))
    assert done.stdout.decode() == answers(*turns, system="brief", max_new_tokens=8)
    first, changed, second = done.stderr.decode().splitlines()
    assert changed == "edgelora: adapter four:0.5 of none, one, four, eight"
    for line in (first, second):
        assert line.startswith("edgelora: ")
        assert " ms, " in line
        assert " tokens/s" in line


def test_a_wrong_adapter_is_one_line_and_the_conversation_goes_on(talk: Talk) -> None:
    lines = ("a", "/adapter fuor", "/adapter one:x", "/adapter none", "/adapter", "b")
    code, out, err = talk(*lines, options=("--adapter", "one", "--max-new-tokens", "5"))
    assert (code, out) == (0, answers(("a", "one"), ("b", "none"), max_new_tokens=5))
    assert "unknown adapter 'fuor'" in err[1]
    assert "one:x" in err[2]
    assert err[3] == err[4] == "edgelora: adapter none of none, one, four, eight"
    assert len(err) == 6


def test_an_adapter_that_is_gone_is_one_line_too(talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = shutil.copytree(ARTIFACT, tmp_path / "artifact")

    def load_then_lose(*given: Any, **options: Any) -> Model:
        model = load(*given, **options)
        shutil.rmtree(artifact / "adapters" / "one")
        return model

    monkeypatch.setattr("edgelora.cli.chat.load", load_then_lose)
    code, out, err = talk("/adapter one", "a", options=("--max-new-tokens", "5"), artifact=artifact)
    assert (code, out, len(err)) == (0, answers(("a", "none"), max_new_tokens=5), 2), err
    assert "adapters/one" in err[0]


def test_reset_forgets_all_but_the_system_and_the_adapter(talk: Talk) -> None:
    options = ("--system", "brief", "--max-new-tokens", "5")
    code, out, _ = talk("a", "/adapter one", "/reset", "b", options=options)
    separate = [answers((text, spec), system="brief", max_new_tokens=5) for text, spec in (("a", "none"), ("b", "one"))]
    assert (code, out) == (0, "".join(separate))


def test_commands_that_are_none_help_and_quit(talk: Talk) -> None:
    code, out, err = talk("/frob it", " /frob it", "/help", "/quit", "b", options=("--max-new-tokens", "5"))
    assert (code, out) == (0, answers(("/frob it", "none"), max_new_tokens=5))
    assert "no command '/frob'; /help lists them" in err[0]
    assert "/adapter SPEC" in err[2]


def test_sampling_options_are_those_of_run(talk: Talk) -> None:
    given = ("--temperature", "2", "--seed", "3", "--top-k", "5", "--max-new-tokens", "9")
    options = {"temperature": 2.0, "seed": 3, "top_k": 5, "max_new_tokens": 9}
    assert talk("a", "b", options=given)[1] == answers(("a", "none"), ("b", "none"), **options)


def test_a_conversation_that_outgrows_the_context_goes_on_after_a_reset(talk: Talk) -> None:
    code, out, err = talk("x " * 60, "y " * 900, "/reset", "b", options=("--max-new-tokens", "5"))
    assert (code, out) == (
        0,
        answers((("x " * 60).strip(), "none"), max_new_tokens=5) + answers(("b", "none"), max_new_tokens=5),
    )
    assert "the context length of" in err[1]
    assert err[1].endswith("; /reset starts a new conversation")
    assert len(err) == 4


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--adapter", "fuor"), "unknown adapter 'fuor'"),
        (("--temperature", "-1"), "temperature"),
        (("--date", "soon"), "soon"),
        (("--template-var", "x"), "expected KEY=VALUE"),
        (("--system", "x " * 900), "the context length of"),
    ],
)
def test_what_is_wrong_with_every_answer_is_told_before_the_first(
    talk: Talk, options: tuple[str, ...], part: str
) -> None:
    code, out, err = talk("a", options=options)
    assert (code, out, len(err)) == (2, "", 1)
    assert part in err[0]


@pytest.mark.parametrize(("missing", "part"), [("chat_template", "no chat template"), ("tokenizer", "no tokenizer")])
def test_an_artifact_that_cannot_converse_is_refused(talk: Talk, tmp_path: Path, missing: str, part: str) -> None:
    artifact = shutil.copytree(ARTIFACT, tmp_path / "artifact")
    manifest = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
    (manifest if missing == "tokenizer" else manifest["tokenizer"])[missing] = None
    (artifact / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    code, out, err = talk("a", artifact=artifact)
    assert (code, out, len(err)) == (2, "", 1)
    assert part in err[0]


def test_input_that_is_no_utf8_is_told() -> None:
    command = [sys.executable, "-m", "edgelora", "chat", str(ARTIFACT)]
    done = subprocess.run(command, input=b"\xff\n", capture_output=True, env=environment())
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"line 1 of standard input is no UTF-8 at byte 0" in done.stderr


def test_an_interrupt_ends_the_answer_and_keeps_the_conversation(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answers(("a", "none"), max_new_tokens=20)
    real, real_next = Model.chat, TextStream.__next__
    asked: list[list[Any]] = []
    n_read = 0

    def chat(self: Model, messages: Any, **options: Any) -> Any:
        asked.append(list(messages))
        return real(self, messages, **options)

    def read(self: TextStream) -> str:
        nonlocal n_read
        piece = real_next(self)
        n_read += 1
        if n_read == 2:
            signal.raise_signal(signal.SIGINT)
        return piece

    monkeypatch.setattr(Model, "chat", chat)
    monkeypatch.setattr(TextStream, "__next__", read)
    before = signal.getsignal(signal.SIGINT)
    code, out, err = talk("a", "b", options=("--max-new-tokens", "20"))
    assert code == 0
    assert err[0].startswith("edgelora: interrupted after ")
    assert not err[1].startswith("edgelora: interrupted")
    kept = asked[-1][1]["content"]
    assert out.startswith(f"{kept}\n")
    assert whole.startswith(kept)
    assert len(kept) < len(whole) - 1
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_has_a_prompt_where_an_interrupt_ends_the_program() -> None:
    import pty

    master, slave = pty.openpty()
    command = [sys.executable, "-m", "edgelora", "chat", str(ARTIFACT), "--max-new-tokens", "3"]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=environment() | {"TERM": "dumb"}, text=True,
        # A shell starts what runs in the background with interrupts ignored, and these tests perhaps too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as program:  # fmt: skip
        os.close(slave)
        try:
            _read_until(master, "> ")
            os.write(master, b"hello\n")
            shown = _read_until(master, "> ")
            for _ in range(5):  # readline misses one that comes between its prompt and its wait
                time.sleep(0.5)
                program.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    program.wait(5)
                    break
        finally:
            program.kill()
        assert program.wait(10) == 130
        assert program.stderr is not None
        err = program.stderr.read().splitlines()
    os.close(master)
    assert "hello" in shown
    assert answers(("hello", "none"), max_new_tokens=3).strip().splitlines()[0] in shown
    assert "adapter none of none, one, four, eight; /help" in err[0]
    assert err[-1] == "edgelora: interrupted"


def _read_until(terminal: int, end: str) -> str:
    found = b""
    while end.encode() not in found:  # readline may send more behind its prompt
        assert select.select([terminal], [], [], 60)[0], found
        found += os.read(terminal, 1024)
    return found.decode(errors="replace")
