"""Adapters coming into a library and leaving it, all or nothing.

library, PEFT folder -> Entry
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelora.artifact.about import ABOUT_FILE, NOTHING, About, read_about
from edgelora.artifact.sharing import whole_folder
from edgelora.errors import AdapterError
from edgelora.library.entry import ENTRY_FILE, SHOWN_KEY, Entry, describe, entry_line, list_files
from edgelora.library.index import (
    FOLDER,
    INDEX_FILE,
    append_entry,
    changing,
    check_library,
    folder_of,
    holding,
    is_free,
    settle,
    write_index,
)
from edgelora_runtime.adapter import check_name
from edgelora_runtime.files import discard_folder, put_folder, temporary_folder, write_atomically
from edgelora_runtime.names import has_control
from edgelora_runtime.parse_json import show


@dataclass(frozen=True)
class Added:
    """The entry of an adapter, and whether it was not there before."""

    entry: Entry
    is_new: bool


def add(
    library: Path,
    folder: Path,
    name: str | None = None,
    tags: Sequence[str] = (),
    scores: Mapping[str, float] | None = None,
    about: About = NOTHING,
) -> Added:
    """Copy a PEFT folder into the library; raises AdapterError for one that cannot be read, or a name that is taken.

    The name is that of the folder where none is given. Content that is there already stays one adapter: it gets the
    tags and scores that it lacks. Whatever fails, the library stays as it was.
    """
    name = folder.resolve().name if name is None else name
    check_name(name)
    for tag in tags:
        if not tag or has_control(tag) or "," in tag:
            raise AdapterError(f"the tag {show(tag)} cannot be used; expected a word without commas")
    check_library(library)
    (library / FOLDER).mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as whole, temporary_folder(library / FOLDER) as fresh:
        for file in list_files(whole):
            shutil.copyfile(whole / file, fresh / file)
        words = dataclasses.asdict(about.before(read_about(whole)))
        if any(words.values()):
            (fresh / ABOUT_FILE).write_text(json.dumps(words, ensure_ascii=False) + "\n", encoding="utf-8")
        made = describe(fresh, name, list_files(fresh), datetime.datetime.now(datetime.UTC))
        made = dataclasses.replace(made, tags=tuple(sorted({*tags})), scores={**made.scores, **(scores or {})})
        with holding(library):
            if folder_of(library, made).exists() or not is_free(library, name):
                entries = settle(library)
                known = entries.get(made.key)
                if known is not None:
                    return Added(_enrich(library, entries, known, made), False)
                taken = next((entry for entry in entries.values() if entry.name == name), None)
                if taken is not None:
                    raise AdapterError(
                        f"the library has another adapter {name!r} ({taken.key[:SHOWN_KEY]}); give this one a --name, "
                        "or remove that one"
                    )
            (fresh / ENTRY_FILE).write_text(entry_line(made), encoding="utf-8")
            put_folder(fresh, folder_of(library, made))  # the moment from which it is there
            append_entry(library, made)
    return Added(made, True)


def remove(library: Path, entries: Iterable[Entry]) -> None:
    """Take adapters out of the library; one that is gone already is no error."""
    with changing(library) as known:
        for entry in entries:
            if known.pop(entry.key, None) is not None:
                discard_folder(folder_of(library, entry))
        write_index(library, known)


def find_equals(entries: Iterable[Entry]) -> list[tuple[Entry, ...]]:
    """Adapters that compute the same with other files, each group with the one to keep first.

    That is the one that says most of itself (tags, scores, title, grid), of equal ones the oldest.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.factors, []).append(entry)

    def rank(entry: Entry) -> tuple[int, str]:
        said = (
            len(entry.tags) + len(entry.scores) + sum(bool(word) for word in (entry.title, entry.grid, entry.license))
        )
        return -said, entry.added

    return [tuple(sorted(group, key=rank)) for group in groups.values() if len(group) > 1]


def _enrich(library: Path, entries: Mapping[str, Entry], known: Entry, made: Entry) -> Entry:
    """The known entry with the tags and scores of a second adding."""
    both = dataclasses.replace(
        known, tags=tuple(sorted({*known.tags, *made.tags})), scores={**made.scores, **known.scores}
    )
    if both != known:
        # Without an index the folders count: whoever is killed between these lines leaves the new words or the old.
        (library / INDEX_FILE).unlink(missing_ok=True)
        write_atomically(folder_of(library, known) / ENTRY_FILE, entry_line(both))
        write_index(library, {**entries, known.key: both})
    return both
