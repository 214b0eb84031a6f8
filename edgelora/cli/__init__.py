"""The command line: one file per command, and the one place that turns errors into a line and an exit code.

Knows nothing about what commands do. A command's module is imported when that command is called, so that
``edgelora --help`` and the light commands never wait for torch.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence

try:
    import typer
except ImportError:
    print("edgelora: the commands need more than the runtime; run `pip install 'edgelora[train]'`", file=sys.stderr)
    sys.exit(2)

from edgelora.errors import EdgeLoraError

# name -> (function or app in the module edgelora.cli.NAME, what `edgelora --help` says)
COMMANDS = {
    "train": ("train", "Train a LoRA adapter on the values that an export will ship."),
    "quantize": ("quantize", "Write the grid of a base model as one file, for train and export."),
    "recover": ("recover", "Train an adapter that gives back what a coarse grid took from the base."),
    "compare": ("compare", "Train, export and score the ways to ship one adapter; one table, one plot."),
    "export": ("export", "Compile a base model and adapters into an artifact."),
    "adapter": ("app", "Add, remove and list the adapters of an artifact; truncate one, measure its receipt."),
    "run": ("run", "Generate text with an artifact."),
    "eval": ("evaluate", "Score an artifact on a data file."),
    "verify": ("verify", "Check an artifact against what PyTorch answered."),
    "bench": ("bench", "Measure decode, prefill, adapter switch, load and memory."),
    "inspect": ("inspect", "Describe an artifact or an adapter folder."),
}
_ADVICE = {
    errno.ENOSPC: "free some space and run it again",
    errno.EDQUOT: "free some space and run it again",
    errno.EFBIG: "the file would exceed the size limit",
    errno.EACCES: "check the permissions or choose another path",
    errno.EPERM: "check the permissions or choose another path",
    errno.EROFS: "choose a path that can be written",
    errno.ENOTDIR: "a file is in the place of a folder; choose another path",
}


def build_app(wanted: str | None) -> typer.Typer:
    """The command line with the command ``wanted`` imported; the others are named for the help alone."""
    app = typer.Typer(
        name="edgelora",
        help="Compile fine-tuned small models with swappable LoRA adapters for phones, browsers and boards.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
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
    """Run the command line; returns the exit code: 0 done, 1 a check failed, 2 bad usage or input, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        wanted = next((word for word in given if not word.startswith("-")), None)
        code = build_app(wanted)(given, prog_name="edgelora", standalone_mode=False)
        sys.stdout.flush()
    except EdgeLoraError as error:
        return _fail(str(error))
    except typer.TyperException as error:
        return _fail(f"{error.format_message().rstrip('.')}; see `{_help(wanted)}`")
    except BrokenPipeError:
        # The reader went away, as `head` does; Python would complain once more while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(_describe(error))
    except ImportError as error:
        return _fail(f"{error}; install what this command needs with `pip install 'edgelora[train]'`")
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    if code == 130:
        return _fail("interrupted", 130)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int = 2) -> int:
    print("edgelora: " + " ".join(message.split("\n")), file=sys.stderr)
    return code


def _describe(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    advice = _ADVICE.get(error.errno or 0)
    return f"{where}{error.strerror or error}" + (f"; {advice}" if advice else "")


def _help(command: str | None) -> str:
    return f"edgelora {command} --help" if command in COMMANDS else "edgelora --help"


def _listed() -> None:
    """Stand in for a command in the help."""
