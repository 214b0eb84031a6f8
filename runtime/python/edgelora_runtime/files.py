"""Files and folders that stand at their place whole, the old or the new, whenever a process or the power ends.

content, Path -> a file or folder at its place
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and so nothing that was left there is taken for dead
    fcntl = None  # type: ignore[assignment]

Content = bytes | str | Callable[[BinaryIO], object]

_PREFIX = ".edgelora-"  # names are of one length whatever they stand for: no path becomes too long by them
_TEMPORARY = re.compile(r"\.edgelora-[0-9a-f]{16}\.tmp")
_LOCK = re.compile(r"\.edgelora-[0-9a-f]{16}\.lock")
_ASIDE = re.compile(r"\.edgelora-([0-9a-f]{16})-[0-9a-f]{16}\.old")
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}
_NO_SYNC = {errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM}


def write_atomically(path: Path, content: Content) -> None:
    """Write a file, or let ``content`` write it: the old file or the new one is there at any moment, and stays so.

    Text is UTF-8. A link is followed, as ``open`` does. Raises OSError naming ``path``.
    """
    target = follow(path)
    with naming(path), _temporary_file(target.parent) as (temporary, stream):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            found = target.stat().st_mode
            if not stat.S_ISREG(found):
                raise OSError(errno.EISDIR if stat.S_ISDIR(found) else errno.EINVAL, "expected a file here", str(path))
            shutil.copymode(target, temporary)
        if callable(content):
            content(stream)
        else:
            stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())
        if fcntl is None:
            stream.close()  # Windows renames no open file
        temporary.replace(target)
        _sync_folder(target.parent)


@contextlib.contextmanager
def replace_folder(
    path: Path, replacing: Callable[[Path], AbstractContextManager[object]] | None = None
) -> Iterator[Path]:
    """Give the block an empty folder; when the block has ended well, it stands at ``path``, and the old one is gone.

    ``replacing`` is entered with the folder that stands there, around the moment of the exchange, and raises where that
    folder must not go; without it nothing may be there. Links are followed. After an exception, a full disk or a kill
    the old folder is at its place: where the system cannot exchange two names at once, ``restore`` puts it there.
    Raises OSError naming ``path``.
    """
    target = follow(path)
    with naming(path), _parents(target):
        restore(target)
        with temporary_folder(target.parent) as fresh:
            yield fresh
            put_folder(fresh, target, replacing)


@contextlib.contextmanager
def reserve(path: Path) -> Iterator[None]:
    """Keep the place of a file or folder for this process while the block runs, hours before it is written.

    Raises OSError naming ``path`` where another process has it, or where nothing could be written. It ends with the
    process, however that ends; where the system has no locks, every process is given every place.
    """
    target = follow(path)
    if _is_mounted(target):
        raise OSError(
            errno.EBUSY, "a disk is mounted there, and nothing takes its place; choose a folder in it", str(path)
        )
    with naming(path), _parents(target), _lock_file(target, path):
        yield


def check_writable(path: Path) -> None:
    """Raise the OSError now that would keep a file or a folder from ``path`` later."""
    with reserve(path):
        pass


def put_folder(
    fresh: Path, target: Path, replacing: Callable[[Path], AbstractContextManager[object]] | None = None
) -> None:
    """Move a finished folder to ``target`` beside it, as ``replace_folder`` does; an old one then has its old name."""
    _sync_tree(fresh)
    if not os.path.lexists(target):
        fresh.rename(target)
    elif replacing is None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    else:
        with replacing(target):
            with contextlib.suppress(OSError):
                shutil.copymode(target, fresh)
            if not _exchange(fresh, target):
                _rename_twice(fresh, target)
    _sync_folder(target.parent)


@contextlib.contextmanager
def temporary_folder(place: Path) -> Iterator[Path]:
    """An empty folder in ``place`` that is gone after the block, at the latest when the next one is made there."""
    sweep(place)
    path, handle = _claim(place, is_folder=True)  # raises NotADirectoryError where a file is in the way
    try:
        yield path
    finally:
        _remove(path)
        os.close(handle)


def discard_folder(path: Path) -> None:
    """Remove a folder that is ours; it is never seen without a part of its files. A link is not followed."""
    aside = path.with_name(_new_name())
    path.rename(aside)
    _sync_folder(path.parent)
    _remove(aside)


def sweep(place: Path) -> None:
    """Remove from a folder what writers left there that are gone; what cannot be removed is left."""
    try:
        names = os.listdir(place)
    except OSError:
        return
    for name in names:
        aside = _ASIDE.fullmatch(name) if name.startswith(_PREFIX) else None
        if aside is None and not is_temporary(name):
            continue
        # An old folder whose place is empty is the only one that there is: it waits for ``restore``.
        if aside is None or aside[1] in {_digest(other) for other in names}:
            with _dead(place / name) as is_dead:
                if is_dead:
                    _remove(place / name)


def restore(path: Path) -> None:
    """Put back the folder that a replacing that was cut short has taken from ``path``, if there is one."""
    if os.path.lexists(path):
        return
    target = Path(os.path.realpath(path))
    with contextlib.suppress(OSError):
        for name in os.listdir(target.parent):
            aside = _ASIDE.fullmatch(name)
            if aside is not None and aside[1] == _digest(target.name):
                with _dead(target.parent / name) as is_dead:
                    if is_dead and not os.path.lexists(target):
                        (target.parent / name).rename(target)


def follow(path: Path) -> Path:
    """The absolute place where ``path`` leads through all links, there or not; raises OSError for links in a circle."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is one that is being written, or was left by a writer that is gone."""
    return name.startswith(_PREFIX) and any(pattern.fullmatch(name) for pattern in (_TEMPORARY, _LOCK, _ASIDE))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give a failed write the path that was asked for: the system names a temporary one, or none for a full disk."""
    try:
        yield
    except OSError as error:
        named = error.filename
        if isinstance(named, str) and not any(is_temporary(part) for part in Path(named).parts):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextlib.contextmanager
def _parents(target: Path) -> Iterator[None]:
    """Make the folders above ``target``; those that were made and hold nothing after the block are removed."""
    made = [above for above in target.parents if not above.exists()]
    try:
        with contextlib.suppress(FileExistsError):  # a file; whoever writes there says so
            target.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            for above in made:
                above.rmdir()


@contextlib.contextmanager
def _lock_file(target: Path, path: Path) -> Iterator[None]:
    lock = target.with_name(f"{_PREFIX}{_digest(target.name)}.lock")
    while True:
        handle = os.open(lock, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        if not _lock(handle):
            os.close(handle)
            raise OSError(
                errno.EWOULDBLOCK, "another command is writing there; wait for it or choose another place", str(path)
            )
        if _is_same(lock, handle):
            break
        os.close(handle)  # its last holder, or somebody who sweeps, has removed it meanwhile
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(handle)


@contextlib.contextmanager
def _temporary_file(place: Path) -> Iterator[tuple[Path, BinaryIO]]:
    sweep(place)
    path, handle = _claim(place, is_folder=False)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield path, stream
    finally:
        path.unlink(missing_ok=True)


def _claim(place: Path, *, is_folder: bool) -> tuple[Path, int]:
    """Make a file or a folder under a new name and lock it; the lock ends with the descriptor, or with the process."""
    while True:
        path = place / _new_name()
        if is_folder:
            path.mkdir()
            try:
                handle = _open(path)
            except FileNotFoundError:
                continue
        else:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        # Somebody who sweeps may have taken it for dead before it was locked; then it is made once more.
        if _lock(handle) and _is_same(path, handle):
            return path, handle
        os.close(handle)


@contextlib.contextmanager
def _dead(path: Path) -> Iterator[bool]:
    """Whether nobody holds ``path``; it is held while the block runs."""
    if fcntl is None:
        yield False
        return
    try:
        handle = _open(path)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_dead = _is_same(path, handle)
    except OSError:  # held, or a file system without locks, where nobody can tell
        is_dead = False
    try:
        yield is_dead
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    if fcntl is None:
        return os.open(os.devnull, os.O_RDONLY)  # Windows opens no folders; there is nothing to lock either
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


def _lock(handle: int) -> bool:
    """Lock a new file or folder; False when somebody else has. Where there are no locks nobody sweeps either."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_same(path: Path, handle: int) -> bool:
    if fcntl is None:
        return True
    try:
        return os.path.samestat(os.lstat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        call = getattr(library, "renameat2", None) or getattr(library, "renameatx_np", None)
    except (ImportError, OSError, TypeError):  # Windows has no CDLL(None)
        return False
    if call is None:
        return False
    here = -100  # AT_FDCWD of Linux; absolute paths do without it
    if call(here, os.fsencode(one.absolute()), here, os.fsencode(other.absolute()), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _rename_twice(fresh: Path, target: Path) -> None:
    """Stand in for ``_exchange``: for a moment nothing is at ``target``, and a kill then leaves it to ``restore``."""
    aside = target.with_name(f"{_PREFIX}{_digest(target.name)}-{secrets.token_hex(8)}.old")
    handle = _open(target)
    try:
        _lock(handle)
        target.rename(aside)
        try:
            fresh.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        aside.rename(fresh)  # where the exchange would have left it
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    """Bring all files of a folder to the disk, so that a name never comes there before what it names."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                with path.open("rb" if fcntl else "r+b") as stream:  # Windows syncs no file that is open for reading
                    _sync(stream.fileno())
        _sync_folder(Path(place))


def _sync_folder(path: Path) -> None:
    if fcntl is None:
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        _sync(handle)
    finally:
        os.close(handle)


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:  # a file system that cannot is no failed write
            raise


def _is_mounted(path: Path) -> bool:
    with contextlib.suppress(OSError):  # ``ismount`` does not see a folder that is mounted from the same disk
        mounted = (line.split()[4] for line in Path("/proc/self/mountinfo").read_bytes().splitlines())
        return os.fsencode(path).replace(b" ", b"\\040") in mounted
    return os.path.ismount(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for place, _, _ in os.walk(path):
            with contextlib.suppress(OSError):
                os.chmod(place, 0o700)  # a folder that nobody may write is emptied by nobody
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _new_name() -> str:
    return f"{_PREFIX}{secrets.token_hex(8)}.tmp"


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
