"""Commands in processes that are forked from one that has imported everything, and what happens to them on the way.

Knows nothing about what the commands are.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# What changes a file system, as the interpreter tells of it; opening to write, and folders to sync them, come to it.
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate"}


def fork(body: Callable[[], int], log: Path, kill_after: float | None = None) -> int:
    """Run ``body`` in a child and return its exit code, or minus the signal that ended it; its words go to ``log``."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
            sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
            code = body()
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_each_change(place: Path, act: Callable[[int], None]) -> None:
    """From now on call ``act`` with 1, 2, ... before each change of the file system below ``place``."""
    count, inside = 0, os.fspath(place) + os.sep

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event != "open" and event not in _CHANGES:
            return
        path = arguments[0]
        text = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
        if (text + os.sep).startswith(inside) and (event != "open" or _changes(text, arguments[2])):
            count += 1
            act(count)

    sys.addaudithook(watch)


def _changes(path: str, flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or os.path.isdir(path)


def count_changes(place: Path, body: Callable[[], int], log: Path) -> tuple[int, float]:
    """How many changes a whole run makes, and how long it takes."""
    tally = log.with_suffix(".count")

    def counted() -> int:
        at_each_change(place, lambda number: tally.write_text(str(number)) and None)
        return body()

    began = time.monotonic()
    assert fork(counted, log) == 0, log.read_text()
    return int(tally.read_text()), time.monotonic() - began


def killed_at(place: Path, number: int, body: Callable[[], int]) -> Callable[[], int]:
    """``body`` in a process that is killed just before its change ``number``."""

    def run() -> int:
        at_each_change(place, lambda found: os.kill(os.getpid(), signal.SIGKILL) if found == number else None)
        return body()

    return run


def limited(size: int, body: Callable[[], int]) -> Callable[[], int]:
    """``body`` in a process that can write no file of more than ``size`` bytes."""

    def run() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return body()

    return run


@contextlib.contextmanager
def read_only(place: Path, is_mounted: bool) -> Iterator[None]:
    """Let nothing below ``place`` be written: as a file system where it is one, by permissions for anybody else."""
    folders = [place, *(path for path in place.rglob("*") if path.is_dir())]
    remount = ["mount", "-o", "remount,ro", os.fspath(place)]
    if not is_mounted:
        for folder in folders:
            folder.chmod(0o555)
    elif os.spawnlp(os.P_WAIT, "mount", *remount):
        raise OSError(f"{place} could not be made read-only")
    try:
        yield
    finally:
        if is_mounted:
            os.spawnlp(os.P_WAIT, "mount", "mount", "-o", "remount,rw", os.fspath(place))
        else:
            for folder in folders:
                folder.chmod(0o755)


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[bool]:
    """Mount a file system in memory at ``place``; False where this user cannot, and ``place`` is as it was."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", os.fspath(place)]
    is_mounted = os.geteuid() == 0 and os.spawnlp(os.P_WAIT, "mount", *mount) == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            os.spawnlp(os.P_WAIT, "umount", "umount", "-l", os.fspath(place))
