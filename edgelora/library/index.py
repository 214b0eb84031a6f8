"""The index of a library: a line for each adapter, made anew from the adapters' folders where it is not theirs.

a library's folder -> each Entry of it, and changes to it one process at a time
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import difflib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from edgelora.errors import AdapterError, ConfigError
from edgelora.library.entry import (
    ENTRY_FILE,
    SHOWN_KEY,
    Entry,
    describe,
    entry_line,
    list_files,
    parse_line,
    read_entry,
)
from edgelora_runtime.files import follow, is_temporary, sweep, write_atomically
from edgelora_runtime.names import is_hash
from edgelora_runtime.parse_json import join_some, show

FOLDER = "adapters"  # of the library: a folder for each adapter, named by its key
INDEX_FILE = "index.jsonl"
INCOMING = "incoming"  # what has come of downloads that were cut short
LOCK_FILE = ".lock"
VARIABLE = "EDGELORA_LIBRARY"
WAIT_SECONDS = 10.0

_LEAST_KEY = 6  # digits by which an adapter can be called


def default_library() -> Path:
    """Where the library is: EDGELORA_LIBRARY of the environment, else in the system's folder for a user's data."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    home = Path.home()
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local")
    elif sys.platform == "darwin":
        data = home / "Library/Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    return data / "edgelora" / "library"


def folder_of(library: Path, entry: Entry) -> Path:
    """The PEFT folder of an adapter of the library."""
    return library / FOLDER / entry.key


def read_index(library: Path) -> tuple[Entry, ...]:
    """Every adapter of the library, by name; none where nothing is there yet.

    Where the index is missing, damaged or behind, it is what the folders say, and is written so if that can be done.
    """
    check_library(library)
    keys = _list_keys(library)
    found = _read_lines(library)
    if found is not None and found.keys() == keys:
        return _by_name(found.values())
    if not keys:
        return ()
    # A library of others may lie on a disk that cannot be written.
    with contextlib.suppress(OSError, AdapterError), changing(library) as entries:
        return _by_name(entries.values())
    return _by_name(_read_folders(library).values())


@contextlib.contextmanager
def holding(library: Path, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Keep other commands from changing the library while the block runs; the lock ends with the process.

    Raises AdapterError where another command holds it for longer than ``wait`` seconds.
    """
    check_library(library)
    (library / FOLDER).mkdir(parents=True, exist_ok=True)
    lock = FileLock(library / LOCK_FILE, timeout=wait)
    try:
        lock.acquire()
    except Timeout as error:
        raise AdapterError(
            f"{library} is being changed by another command, which holds {library / LOCK_FILE}; try again when it has "
            "ended"
        ) from error
    try:
        sweep(library / FOLDER)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def changing(library: Path, wait: float = WAIT_SECONDS) -> Iterator[dict[str, Entry]]:
    """Hold the library and give its entries by key, as ``settle`` does."""
    with holding(library, wait):
        yield settle(library)


def settle(library: Path) -> dict[str, Entry]:
    """The entries by key, for a holder of the library; an index that is not the folders' is made anew first."""
    found = _read_lines(library)
    if found is None or found.keys() != _list_keys(library):
        found = _read_folders(library)
        write_index(library, found)
    return found


def is_free(library: Path, name: str) -> bool:
    """Whether the index is as long as there are adapters and says of none that it has this name.

    It is looked at as bytes: a thousand lines are not taken apart for one more.
    """
    try:
        lines = (library / INDEX_FILE).read_bytes()
    except FileNotFoundError:
        lines = b""
    is_whole = lines.count(b"\n") == len(_list_keys(library)) and lines[-1:] in (b"", b"\n")
    return is_whole and f'"name": "{name}"'.encode() not in lines


def append_entry(library: Path, entry: Entry) -> None:
    """One more line at the end of the index, for a holder of the library: as quick with a thousand before it."""
    with (library / INDEX_FILE).open("a", encoding="utf-8") as stream:
        stream.write(entry_line(entry))


def write_index(library: Path, entries: Mapping[str, Entry]) -> None:
    """The index anew, for a holder of the library."""
    write_atomically(library / INDEX_FILE, "".join(map(entry_line, entries.values())))


def find(entries: Sequence[Entry], reference: str) -> Entry:
    """The adapter of this name, or whose key begins so; raises AdapterError where none or several do."""
    named = [entry for entry in entries if entry.name == reference]
    if not named and len(reference) >= _LEAST_KEY:
        named = [entry for entry in entries if entry.key.startswith(reference)]
    if len(named) == 1:
        return named[0]
    if named:
        told = join_some([f"{entry.name} ({entry.key[:SHOWN_KEY]})" for entry in named], ", ")
        raise AdapterError(f"{show(reference)} begins the keys of {len(named)} adapters: {told}; give more digits")
    close = difflib.get_close_matches(reference, [entry.name for entry in entries], 1)
    hint = f"; did you mean {close[0]!r}?" if close else "; `edgelora library list` names them all"
    raise AdapterError(f"the library has no adapter {show(reference)} among its {len(entries)}{hint}")


def check_library(library: Path) -> None:
    """Raise ConfigError for a folder that holds anything but a library."""
    place = follow(library)
    if not place.exists():
        return
    if not place.is_dir():
        raise ConfigError(f"{library} is a file; choose a folder for the library")
    known = {FOLDER, INDEX_FILE, LOCK_FILE, INCOMING}
    foreign = sorted(name for name in os.listdir(place) if name not in known and not is_temporary(name))
    if foreign and not (place / INDEX_FILE).is_file():
        raise ConfigError(
            f"{library} is no library: it holds {join_some(foreign[:3], ', ')}; choose another folder with --library"
        )


def _by_name(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.name))


def _list_keys(library: Path) -> set[str]:
    try:
        return {name for name in os.listdir(library / FOLDER) if is_hash(name)}
    except FileNotFoundError:
        return set()


def _read_lines(library: Path) -> dict[str, Entry] | None:
    """What the index says; None where it is missing, or any line of it is damaged."""
    path = library / INDEX_FILE
    try:
        text = path.read_text(encoding="utf-8")
        found = [parse_line(line, str(path)) for line in text.splitlines()]
    except (OSError, ValueError, AdapterError):
        return None
    is_whole = not text or text.endswith("\n")
    entries = {entry.key: entry for entry in found}
    return entries if is_whole and len(entries) == len(found) else None


def _read_folders(library: Path) -> dict[str, Entry]:
    """What the folders themselves say, each by its own ``entry.json``, or by its files where that is damaged."""
    found: dict[str, Entry] = {}
    names: set[str] = set()
    for key in sorted(_list_keys(library)):
        folder = library / FOLDER / key
        try:
            entry = read_entry(folder)
        except AdapterError:
            changed = datetime.datetime.fromtimestamp(folder.stat().st_mtime, datetime.UTC)
            entry = describe(folder, f"adapter-{key[:SHOWN_KEY]}", list_files(folder), changed)
            write_atomically(folder / ENTRY_FILE, entry_line(entry))
        if entry.key != key:
            raise AdapterError(
                f"{folder} holds other files than its name says (they make {entry.key[:SHOWN_KEY]}…); move it out of "
                "the library and add it again"
            )
        if entry.name in names:
            entry = dataclasses.replace(entry, name=f"adapter-{key[:SHOWN_KEY]}")
        names.add(entry.name)
        found[key] = entry
    return found
