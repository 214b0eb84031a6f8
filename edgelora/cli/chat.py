"""``edgelora chat``: a conversation with an artifact, whose adapter may change between two answers.

artifact, lines of a person -> answers as they are made
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from edgelora.cli.failures import one_line
from edgelora.cli.flags import spread
from edgelora.cli.output import note
from edgelora.cli.sampling_options import SamplingFlags
from edgelora.cli.thread_options import Threads
from edgelora.errors import InputError
from edgelora_runtime import EdgeLoraError, Model, load
from edgelora_runtime.request import TextOptions

Conversation = tuple[dict[str, str], ...]

_PROMPT = "> "
_HELP = """\
/adapter SPEC  answer with another adapter from now on: none, NAME, NAME:0.5 or A:0.7+B:0.3; alone, tell which
/reset         forget the conversation; --system and the adapter stay
/help          this
/quit          end, as the end of the input does
Ctrl-C ends an answer and keeps what it said; a second one, or one at the prompt, ends the program.
Anything else is a message; one that begins with / has a blank in front."""


@dataclass(frozen=True)
class Chat:
    """What stays the same from answer to answer."""

    model: Model
    opening: Conversation
    options: TextOptions


@spread
def chat(
    artifact: Annotated[Path, typer.Argument(help="Folder written by `edgelora export`.", show_default=False)],
    adapter: Annotated[
        str, typer.Option(metavar="SPEC", help="The first adapter: none, NAME, NAME:0.5 or A:0.7+B:0.3.")
    ] = "none",
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="The message of the system, before all.")] = None,
    sampling: SamplingFlags = SamplingFlags(),
    threads: Threads = None,
) -> None:
    """Talk with an artifact; each line is a message, answers are streamed to standard output.

    /adapter SPEC changes the adapter in the middle, /reset forgets what was said, /help tells the rest. How long an
    answer took goes to standard error. Piped input is one message a line.

    Example: edgelora chat smol --adapter support --system "Be brief."

    Example: edgelora chat smol < questions.txt
    """
    with load(artifact, threads=threads, task="text-generation") as model:
        talk(_open(model, artifact, adapter, system, sampling))


def talk(chat: Chat) -> None:
    """Answer line after line until the input ends; what is wrong with one is told, and the conversation goes on."""
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # not on every system; lines are edited less comfortably without
            importlib.import_module("readline")
        note(f"{chat.model.manifest.model.name}, {_tell_adapter(chat.model)}; /help lists the commands")
    said = chat.opening
    for line in _read_lines():
        word, _, rest = line.rstrip().partition(" ")
        if word == "/quit":
            return
        try:
            if word.startswith("/"):
                said = _obey(chat, word, rest.strip(), said)
            elif message := line.strip():
                said = _answer(chat, said, message)
        except EdgeLoraError as error:
            is_long = said != chat.opening and not word.startswith("/")
            note(one_line(f"{error}; /reset starts a new conversation" if is_long else str(error)))


def _open(model: Model, artifact: Path, adapter: str, system: str | None, sampling: SamplingFlags) -> Chat:
    """Find now whatever would be wrong with every answer."""
    tokenizer = model.tokenizer
    if tokenizer is None or tokenizer.chat_template is None:
        missing = "tokenizer" if tokenizer is None else "chat template"
        raise InputError(
            f"{artifact} has no {missing}, which a conversation needs; export a model that has one"
            + ("" if tokenizer is None else f", or continue a text with `edgelora run {artifact} --raw`")
        )
    opening = () if system is None else ({"role": "system", "content": system},)
    options = sampling.options()
    tokenizer.find_stops(sampling.stop or ())
    model.set_adapter(adapter)
    model.chat([*opening, _by_user("?")], stream=True, **options)  # checks its arguments, and computes nothing yet
    return Chat(model, opening, options)


def _obey(chat: Chat, command: str, argument: str, said: Conversation) -> Conversation:
    """Do what a line with / asks for; returns the conversation to go on with."""
    if command == "/adapter":
        if argument:
            chat.model.set_adapter(argument)
        note(_tell_adapter(chat.model))
    elif command == "/reset":
        note("a new conversation")
        return chat.opening
    elif command == "/help":
        print(_HELP, file=sys.stderr)
    else:
        raise InputError(f"no command {command!r}; /help lists them, and a blank in front makes it a message")
    return said


def _answer(chat: Chat, said: Conversation, message: str) -> Conversation:
    """Stream one answer; returns the conversation with it."""
    asked = (*said, _by_user(message))
    started = time.perf_counter()
    with _interrupt() as interrupt, contextlib.closing(chat.model.chat(asked, stream=True, **chat.options)) as stream:
        for piece in stream:
            sys.stdout.write(piece)
            sys.stdout.flush()
            if interrupt.is_set():
                break
    seconds = time.perf_counter() - started
    sys.stdout.write("\n")
    sys.stdout.flush()
    answer = stream.generation
    count = answer.usage.completion_tokens
    first = answer.timings.first_token_ms
    note(
        f"{'interrupted after ' if interrupt.is_set() else ''}{count} tokens in {1e3 * seconds:.0f} ms, "
        f"{count / seconds:.1f} tokens/s" + ("" if first is None else f"; the first after {first:.0f} ms")
    )
    return (*asked, {"role": "assistant", "content": answer.text})


@contextlib.contextmanager
def _interrupt() -> Iterator[threading.Event]:
    """Set by a Ctrl-C, so that a step of the model is never left half done; a second one ends the program."""
    asked = threading.Event()

    def ask(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _read_lines() -> Iterator[str]:
    """Lines of standard input, asked for one after another where a person types them."""
    is_terminal = sys.stdin.isatty()
    number = 0
    while True:
        number += 1
        try:
            line = _ask() if is_terminal else sys.stdin.buffer.readline().decode()
        except UnicodeDecodeError as error:
            raise InputError(f"line {number} of standard input is no UTF-8 at byte {error.start}") from error
        if not line:
            return
        yield line


def _ask() -> str:
    """A line that was typed, empty at the end of the input."""
    shown = _PROMPT if sys.stdout.isatty() else ""
    if not shown:
        print(_PROMPT, end="", file=sys.stderr, flush=True)
    try:
        return f"{input(shown)}\n"
    except EOFError:
        print(file=sys.stderr)
        return ""
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise


def _tell_adapter(model: Model) -> str:
    return f"adapter {model.adapter} of {', '.join(('none', *model.adapters))}"


def _by_user(message: str) -> dict[str, str]:
    return {"role": "user", "content": message}
