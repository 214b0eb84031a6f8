"""The command line: one file per command, and the one place that turns errors into a line and an exit code.

arguments -> exit code

A command's module is imported when that command is called, so that ``edgelora --help`` and the light commands never
wait for torch.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, TextIO

try:
    import typer
except ImportError:
    print("edgelora: the commands need more than the runtime; run `pip install 'edgelora[cli]'`", file=sys.stderr)
    sys.exit(2)

from edgelora.cli.failures import BAD_INPUT, INTERRUPTED, explain, one_line
from edgelora.errors import EdgeLoraError
from edgelora_runtime.files import naming

# name -> (function or app in the module edgelora.cli.NAME, what `edgelora --help` says)
COMMANDS = {
    "train": ("train", "Train a LoRA adapter on the values that an export will ship."),
    "quantize": ("quantize", "Write the grid of a base model as one file, for train and export."),
    "recover": ("recover", "Train an adapter that gives back what a coarse grid took from the base."),
    "compare": ("compare", "Train, export and score the ways to ship one adapter; one table, one plot."),
    "export": ("export", "Compile a base model and adapters into an artifact."),
    "adapter": ("app", "Add, remove and list the adapters of an artifact; truncate, convert, measure, merge, compare."),
    "library": ("app", "Keep adapters in a folder: find, compare, thin out, publish, fetch them."),
    "run": ("run", "Generate text with an artifact; classify, tag or embed it."),
    "chat": ("chat", "Talk with an artifact, whose adapter may change between two answers."),
    "eval": ("evaluate", "Score an artifact on a data file."),
    "verify": ("verify", "Check an artifact against what PyTorch answered."),
    "bench": ("bench", "Measure decode, prefill, adapter switch, load and memory."),
    "inspect": ("inspect", "Describe an artifact or an adapter folder."),
}
_EXTRAS = {
    "train": "train",
    "recover": "train",
    "compare": "train",
    "quantize": "compile",
    "export": "compile",
}  # else cli
_COMPLETION = "_EDGELORA_COMPLETE"  # set where a shell asks what may come next
_TRACEBACK, _TRACEBACK_VARIABLE = "--traceback", "EDGELORA_TRACEBACK"


def build_app(wanted: str | None) -> typer.Typer:
    """The command line with the command ``wanted`` imported; the others are named for the help alone."""
    app = typer.Typer(
        name="edgelora",
        help="Compile fine-tuned small models with swappable LoRA adapters for phones, browsers and boards.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global_options)
    for name, (attribute, summary) in COMMANDS.items():
        if name != wanted:
            app.command(name, help=summary)(_listed)
            continue
        target = getattr(importlib.import_module(f"edgelora.cli.{name}"), attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=summary)
        else:
            app.command(name)(target)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 done, 1 a check failed, 2 bad usage or input, 70 a fault of ours, 130 interrupted. Whatever ends a command is one
    line on standard error; ``--traceback``, anywhere, adds where an error came from that nobody raised on purpose.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    shows_traceback = _take_traceback(given)
    words = given
    if _COMPLETION in os.environ:  # by the scripts of typer: bash calls the line one thing, all others another
        words = (os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()[1:]
    wanted = next((word for word in words if not word.startswith("-")), None)
    _open_streams()
    try:
        code = build_app(wanted)(given, prog_name="edgelora", standalone_mode=False)
        with naming(Path("standard output")):
            sys.stdout.flush()
    except typer.TyperException as error:
        return _fail(f"{error.format_message().rstrip('.')}; see `{_help(wanted)}`", BAD_INPUT)
    except BrokenPipeError:  # the reader went away, as `head` does
        _mute(sys.stdout)
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        if shows_traceback and not isinstance(error, EdgeLoraError):
            traceback.print_exception(error)
        code, line = explain(error, _EXTRAS.get(wanted or "", "cli"))
        return _fail(line, code)
    if code == INTERRUPTED:
        return _fail("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _take_traceback(given: list[str]) -> bool:
    """Whether tracebacks are asked for; the option is taken out, so that it may stand before and after the command."""
    end = given.index("--") if "--" in given else len(given)
    is_asked = _TRACEBACK in given[:end]
    given[:end] = [word for word in given[:end] if word != _TRACEBACK]
    return is_asked or os.environ.get(_TRACEBACK_VARIABLE, "0") not in ("", "0")


def _open_streams() -> None:
    """Let every text be printed, and give a program that was started without streams some that swallow it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif name == "stdin":
            continue
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of names that are no UTF-8


def _fail(message: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _mute(sys.stdout)
    try:
        print(one_line(f"edgelora: {message}"), file=sys.stderr, flush=True)
    except OSError:
        _mute(sys.stderr)
    return code


def _mute(stream: TextIO) -> None:
    """Send what is left to nowhere: Python would complain once more while it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _help(command: str | None) -> str:
    return f"edgelora {command} --help" if command in COMMANDS else "edgelora --help"


def _listed() -> None:
    """Stand in for a command in the help."""


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"edgelora {version('edgelora')}")
        raise typer.Exit


def _global_options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
    traceback: Annotated[  # main has taken it out; here it is for the help
        bool,
        typer.Option(
            _TRACEBACK,
            help="Show where a fault of ours came from as well; may stand anywhere. "
            f"{_TRACEBACK_VARIABLE}=1 in the environment does the same.",
        ),
    ] = False,
) -> None:
    pass
