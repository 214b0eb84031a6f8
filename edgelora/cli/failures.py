"""What ended a command, as one line and an exit code: 2 for what the user can put right, 70 for a fault of ours.

exception -> exit code, line
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from edgelora.errors import EdgeLoraError

BAD_INPUT, OUR_FAULT, INTERRUPTED = 2, 70, 130  # 70 is EX_SOFTWARE of sysexits.h
LONGEST_LINE = 499  # characters, so that it is read

_PACKAGES = {"edgelora", "edgelora_onnx", "edgelora_runtime"}
_OF_CLI = {"typer", "tqdm", "filelock", "onnx", "onnx_ir", "tokenizers", "jinja2", "psutil"}
_ADVICE: Mapping[int, str] = {
    errno.ENOSPC: "free some space and run it again",
    errno.EDQUOT: "free some space and run it again",
    errno.EFBIG: "the file would exceed the size limit",
    errno.EACCES: "check the permissions or choose another path",
    errno.EPERM: "check the permissions or choose another path",
    errno.EROFS: "choose a path that can be written",
    errno.ENOTDIR: "a file is in the place of a folder; choose another path",
    errno.EMFILE: "raise the limit of open files with `ulimit -n` and run it again",
    errno.ENFILE: "close other programs and run it again",
    errno.EMLINK: "choose another folder",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "its links lead in a circle; choose another path",
    errno.EBUSY: "it is in use, or another disk is mounted there; choose another path",
    errno.EIO: "the disk failed; check it and run it again",
}
_NO_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|bad_alloc|failed to allocate|out of memory", re.I
)


def explain(error: BaseException, extra: str) -> tuple[int, str]:
    """Exit code and line; the line says what was found and what to do, whoever raised the error.

    ``extra`` is the one of pyproject.toml that the command needs.
    """
    if isinstance(error, EdgeLoraError):
        return BAD_INPUT, str(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        why = f" ({_first_line(error)})" if str(error) else ""
        return BAD_INPUT, (
            f"not enough memory{why}; close other programs, or ask for less: a smaller --batch-size or --max-length, "
            "train --low-memory"
        )
    if isinstance(error, OSError):
        where = f"{_readable(error.filename)}: " if error.filename else ""
        is_the_systems = error.errno is not None and error.strerror == os.strerror(error.errno)  # ours have advice
        advice = _ADVICE.get(error.errno or 0) if is_the_systems else None
        return BAD_INPUT, f"{where}{error.strerror or error}" + (f"; {advice}" if advice else "")
    missing = (error.name or "").split(".")[0] if isinstance(error, ImportError) else None
    if missing is not None and missing not in _PACKAGES:
        needed = "compile" if extra == "cli" and missing not in _OF_CLI else extra  # as adapter receipt does
        return BAD_INPUT, f"{error}; install what this command needs with `pip install 'edgelora[{needed}]'`"
    return OUR_FAULT, (
        f"a fault of edgelora itself, not of what it was given: {type(error).__name__}: {_first_line(error)} "
        f"({_place(error)}); run it again as `edgelora --traceback ...` and report what it prints"
    )


def one_line(text: str) -> str:
    """``text`` as one line that a terminal shows as it is, without its middle where it is too long."""
    plain = "".join(letter if letter.isprintable() else _escape(letter) for letter in text.strip())
    if len(plain) <= LONGEST_LINE:
        return plain
    head = LONGEST_LINE * 2 // 3
    return f"{plain[:head]} … {plain[head + 3 - LONGEST_LINE :]}"


def _escape(letter: str) -> str:
    return " " if letter.isspace() else letter.encode("unicode_escape", "surrogatepass").decode()


def _readable(name: object) -> str:
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no more is known"


def _place(error: BaseException) -> str:
    """The last line of ours that was running; a folder that has the name of a package, as a checkout has, is none."""
    loaded = [sys.modules[name].__file__ for name in _PACKAGES if name in sys.modules]
    homes = [Path(file).parent for file in loaded if file is not None]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for home in homes:
            if home in Path(frame.filename).parents:
                return f"{Path(frame.filename).relative_to(home.parent).as_posix()}:{frame.lineno}"
    return "outside of its files"
