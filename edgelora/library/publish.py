"""Adapters of a library as a plain folder that any web server or CDN can hand out.

a library's folder, each Entry -> a folder with ``index.json`` and the adapters' files
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora.errors import AdapterError, ConfigError
from edgelora.library.entry import KEPT_FILES, KEY_FILES, Entry, key_of, list_files, parse_entry
from edgelora.library.index import FOLDER, folder_of
from edgelora_runtime.files import replace_folder
from edgelora_runtime.manifest import FileInfo
from edgelora_runtime.names import is_hash
from edgelora_runtime.parse_json import parse_json, show

INDEX = "index.json"
FORMAT = "edgelora-library"
FORMAT_VERSION = 1
LARGEST_INDEX = 64 << 20  # bytes

_ADVICE = "publish the library again"


@dataclass(frozen=True)
class Published:
    """One adapter of a published folder: its ``path`` there, and its files with their sizes and hashes."""

    entry: Entry
    path: str
    files: dict[str, FileInfo]


def publish(library: Path, entries: Sequence[Entry], out: Path) -> None:
    """Write a folder for a web server; what this has written there before is replaced in one moment.

    Raises ConfigError where ``out`` holds anything else.
    """

    @contextlib.contextmanager
    def replacing(old: Path) -> Iterator[None]:
        check_published(old)
        yield

    if out.exists():
        check_published(out)
    with replace_folder(out, replacing) as fresh:
        told = []
        for entry in entries:
            source, path = folder_of(library, entry), f"{FOLDER}/{entry.key}"
            files = list_files(source)
            if key_of(files) != entry.key:
                raise AdapterError(
                    f"{source} is damaged: its files are no longer those of {entry.name!r}; add it again"
                )
            (fresh / path).mkdir(parents=True)
            for name in files:
                shutil.copyfile(source / name, fresh / path / name)
            listed = {name: info.to_record() for name, info in files.items()}
            record = {**entry.to_record(), "path": path, "files": listed}
            told.append(json.dumps(record, ensure_ascii=False, allow_nan=False))
        head = f'{{"format": "{FORMAT}", "format_version": {FORMAT_VERSION}, "adapters": [\n'
        (fresh / INDEX).write_text(head + ",\n".join(told) + "\n]}\n", encoding="utf-8")


def check_published(folder: Path) -> None:
    """Raise ConfigError unless a folder is empty, or holds what ``publish`` has written and nothing else."""
    advice = "move it away, or choose another folder"
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose a folder to publish into")
    names = {item.name for item in folder.iterdir()}
    if not names:
        return
    try:
        known = {item.entry.key for item in parse_published((folder / INDEX).read_bytes(), str(folder / INDEX))}
    except (OSError, AdapterError) as error:
        raise ConfigError(f"{folder} holds other things than a published library; {advice}") from error
    adapters = folder / FOLDER
    foreign = sorted(names - {INDEX, FOLDER}) + sorted(
        item.name for item in (adapters.iterdir() if adapters.is_dir() else ()) if item.name not in known
    )
    if foreign:
        raise ConfigError(f"{folder} holds other things than a published library ({foreign[0]}); {advice}")


def parse_published(content: bytes, where: str) -> tuple[Published, ...]:
    """What ``index.json`` of a published folder says; raises AdapterError with the field that is wrong."""
    data = parse_json(content, where, AdapterError, _ADVICE, LARGEST_INDEX)
    if not isinstance(data, dict) or data.get("format") != FORMAT or data.get("format_version") != FORMAT_VERSION:
        raise AdapterError(f"{where} is no index of a published library, version {FORMAT_VERSION}; {_ADVICE}")
    items = data.get("adapters")
    if not isinstance(items, list):
        raise AdapterError(f"{where}: adapters is {show(items)}, expected a list; {_ADVICE}")
    found = tuple(_parse(item, f"{where}: adapters[{index}]") for index, item in enumerate(items))
    if len({item.entry.name for item in found}) < len(found):
        raise AdapterError(f"{where}: a name stands twice; {_ADVICE}")
    return found


def _parse(data: Any, where: str) -> Published:
    entry = parse_entry(data, where)
    path, files = data.get("path"), data.get("files")
    if path != f"{FOLDER}/{entry.key}":
        raise AdapterError(f"{where}: path is {show(path)}, expected {FOLDER}/ and the key; {_ADVICE}")
    found: dict[str, FileInfo] = {}
    for name, info in files.items() if isinstance(files, dict) else ():
        size, digest = (info.get("bytes"), info.get("sha256")) if isinstance(info, dict) else (None, None)
        is_size = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 1 << 40
        if name not in KEPT_FILES or not is_size or not isinstance(digest, str) or not is_hash(digest):
            raise AdapterError(f"{where}: files: {show(name)} has no size and hash that can be used; {_ADVICE}")
        found[name] = FileInfo(int(size), digest)  # type: ignore[arg-type]
    if not {*KEY_FILES} <= found.keys() or key_of(found) != entry.key:
        raise AdapterError(f"{where}: its files do not make its key; {_ADVICE}")
    return Published(entry, path, found)
