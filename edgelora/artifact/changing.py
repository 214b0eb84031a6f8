"""An artifact while a command changes it: one command at a time, and what a killed one left is put right first.

an artifact's folder -> the same folder, locked and put right
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from edgelora.errors import AdapterError, ConfigError
from edgelora.option import OPTIONS_FILE, is_options_of
from edgelora_runtime.files import discard_folder, follow, is_temporary, restore, sweep
from edgelora_runtime.manifest import FORMAT, MANIFEST_FILE, read_manifest
from edgelora_runtime.names import is_hash, shared_file

FOLDER = "adapters"
LOCK_FILE = ".lock"  # never listed, there only while a command changes the artifact
# In the folder of an adapter that is coming or going, and in that of all adapters where files that they share are:
# what is listed stays, what is not goes.
MARK_FILE = ".changing"
WAIT_SECONDS = 10.0


@contextlib.contextmanager
def changing(artifact: Path, wait: float = WAIT_SECONDS) -> Iterator[Path]:
    """Hold the artifact's lock file and give its folder without links; what an earlier command left is put right.

    The lock ends with the process. Raises AdapterError naming the lock file when another command holds it for longer
    than ``wait`` seconds, and when the artifact cannot be changed at its place; ArtifactError when it is none.
    """
    restore(artifact)
    place = follow(artifact)
    if not (place / MANIFEST_FILE).is_file():
        read_manifest(artifact)  # says what is wrong with the path
    for name in (MANIFEST_FILE, FOLDER):
        if (place / name).is_symlink():
            raise AdapterError(
                f"{artifact / name} is a link to {os.readlink(place / name)}, and nothing is changed behind a link; "
                "make a copy of the artifact with `cp -rL` and change that"
            )
    lock = _acquire(artifact, place, time.monotonic() + wait)
    held = place.stat()
    try:
        _settle(place)
        yield place
    except BaseException:
        with contextlib.suppress(OSError):  # what cannot be put right now is the matter of the next command
            _settle(place)
        raise
    finally:
        with contextlib.suppress(OSError):
            # Only the holder removes the file, while it holds it: others then see that they locked a nameless one.
            if os.path.samestat(held, place.stat()) and not (place / LOCK_FILE).stat().st_size:
                (place / LOCK_FILE).unlink()
        lock.release()


def finish_adapter(place: Path, name: str, *, is_listed: bool, unshared: str | None = None) -> None:
    """Do for one marked adapter what a later command would do for all, which takes a look at each of a thousand.

    ``unshared`` is the name of a file that nobody shares with it any more.
    """
    with contextlib.suppress(OSError):
        _finish(place / FOLDER / name, is_listed)
    with contextlib.suppress(OSError):
        if unshared is not None:
            (place / FOLDER / unshared).unlink()
        (place / FOLDER / MARK_FILE).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # unless it is empty
        (place / FOLDER).rmdir()


def check_replaceable(folder: Path) -> None:
    """Raise unless ``folder`` is an artifact, and everything in it belongs to one.

    ArtifactError when it is none, ConfigError naming files that a person must have put there.
    """
    index = _read_index(folder)
    if index is None:
        read_manifest(folder)
    known = {*(index or {}).get("files", {}), MANIFEST_FILE, LOCK_FILE}
    if is_options_of(folder / OPTIONS_FILE, "export"):
        known.add(OPTIONS_FILE)
    foreign = [name for name in _walk(folder) if name not in known]
    if foreign:
        raise ConfigError(
            f"{folder} holds what is not of its artifact ({', '.join(sorted(foreign)[:3])}); move it away, or choose "
            "another folder"
        )


def check_outside(path: Path) -> None:
    """Raise ConfigError when ``path`` is in an artifact, whose manifest would no longer be right."""
    for above in Path(os.path.realpath(path)).parents:
        if _read_index(above) is not None:
            raise ConfigError(
                f"{path} is inside the artifact {above}, whose files are listed with their hashes; choose another "
                "folder, and give it to the artifact with `edgelora adapter add`"
            )


def _acquire(artifact: Path, place: Path, until: float) -> FileLock:
    path = place / LOCK_FILE
    while True:
        before = place.stat()
        lock = FileLock(path, timeout=max(0.0, until - time.monotonic()))
        try:
            lock.acquire()
        except Timeout as error:
            raise AdapterError(
                f"{artifact} is being changed by another command, which holds {path}; try again when it has ended"
            ) from error
        # An export may have put a new folder here while this waited for the lock of the old one.
        if place.is_dir() and os.path.samestat(before, place.stat()):
            return lock
        lock.release()


def _settle(place: Path) -> None:
    """Finish or take back what was cut short: the manifest says which."""
    sweep(place)
    adapters = place / FOLDER
    if adapters.is_symlink() or not adapters.is_dir():
        return
    sweep(adapters)
    # A path for each of a thousand adapters would take longer than looking.
    with os.scandir(adapters) as items:
        found = list(items)
    marked = [adapters / item.name for item in found if _is_marked(item)]
    has_shared = any(item.name == MARK_FILE for item in found)
    index = _read_index(place) if marked or has_shared else None
    if index is not None:
        listed = {str(item.get("path")) for item in index.get("adapters", []) if isinstance(item, dict)}
        if has_shared:
            for name in [item.name for item in found if _is_shared(item.name)]:
                if f"{FOLDER}/{name}" not in index["files"]:
                    (adapters / name).unlink()
            (adapters / MARK_FILE).unlink()
        for item in marked:
            _finish(item, f"{FOLDER}/{item.name}" in listed)
    with contextlib.suppress(OSError):  # unless it is empty
        adapters.rmdir()


def _finish(marked: Path, is_listed: bool) -> None:
    if is_listed:
        (marked / MARK_FILE).unlink()
    elif (marked / MARK_FILE).is_file():
        discard_folder(marked)


def _is_marked(item: os.DirEntry[str]) -> bool:
    return item.is_dir(follow_symlinks=False) and os.path.isfile(f"{item.path}/{MARK_FILE}")


def _is_shared(name: str) -> bool:
    stem = Path(name).stem
    return is_hash(stem) and name == shared_file(stem)


def _read_index(folder: Path) -> Mapping[str, Any] | None:
    """The manifest as plain JSON, of any state of the format; None where there is no artifact."""
    try:
        data = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    is_index = isinstance(data, dict) and data.get("format") == FORMAT and isinstance(data.get("files"), dict)
    return data if is_index else None


def _walk(folder: Path) -> Iterator[str]:
    """Relative names of all files and links below ``folder``, except what a command left there that was killed."""
    for place, folders, names in os.walk(folder):
        relative = Path(place).relative_to(folder)
        if MARK_FILE in names and relative.parent == Path(FOLDER):
            folders.clear()
            continue
        if MARK_FILE in names and relative == Path(FOLDER):
            names[:] = [name for name in names if name != MARK_FILE and not _is_shared(name)]
        links = [name for name in folders if Path(place, name).is_symlink()]
        folders[:] = [name for name in folders if not is_temporary(name)]
        yield from ((relative / name).as_posix() for name in (*names, *links) if not is_temporary(name))
