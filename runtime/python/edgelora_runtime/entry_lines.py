"""Lines of a manifest that each hold one entry, of an adapter or of one of its files: unread until it is asked for.

text of a manifest -> the text without these lines, names, and JSON of one entry

A manifest as ``manifest_text`` writes it is made of such lines nearly to the whole where it has many adapters. One that
was written otherwise has none that can be told apart, and is read whole.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.parse_json import parse_json, show

_LIST = '"adapters": ['
_OBJECT, _FILE, _END = '\n  {"', '\n  "adapters/', "},"
_NO_FILE = "adapters/"  # stands for all lines of files: a name that no file has
_NAME = '"name"'
_NAMED = re.compile(r'"name": "([^"\\\n]*)"[^\n]*')  # to the end of its line, so that a line has one at most
_ADVICE = "export the artifact again"


@dataclass(frozen=True)
class EntryLines:
    """The lines of adapters and those of their files in ``text``, each from the line break before the first one on."""

    text: str
    adapters: tuple[int, int]
    files: tuple[int, int]
    names: tuple[str, ...]  # of the adapters, as their lines have them

    def without(self) -> str:
        """The text with one line in the place of all of these, twice."""
        (start, end), (first, last) = self.adapters, self.files
        return f'{self.text[:start]}\n  null{self.text[end:first]}\n  "{_NO_FILE}": null,{self.text[last:]}'

    def take_out(self, data: Mapping[str, Any]) -> bool:
        """Take what ``without`` put there out of its value; False where it stood elsewhere than these lines must."""
        adapters, files = data.get("adapters"), data.get("files")
        if adapters != [None] or not isinstance(files, dict) or files.pop(_NO_FILE, self) is not None:
            return False
        data["adapters"].clear()
        return True

    def read_adapter(self, index: int, where: str) -> Any:
        """The entry of one adapter; raises ArtifactError where its line holds anything else."""
        told = f"{where}: adapters[{index}]"
        found = parse_json(self._lines[index].removesuffix(","), told, ArtifactError, _ADVICE)
        if isinstance(found, dict) and isinstance(found.get("name"), str) and found["name"] != self.names[index]:
            raise ArtifactError(f"{told}: name is {show(found['name'])}, expected {self.names[index]!r}; {_ADVICE}")
        return found

    def has_file(self, name: str) -> bool:
        """Whether a line begins with this name."""
        return self._find(name) >= 0

    def read_file(self, name: str, where: str) -> Any:
        """The entry of a file that there is; raises ArtifactError where its line holds anything else."""
        place, told = self._find(name), f"{where}: files: {show(name)}"
        if self.text.find(f'\n  "{name}"', place + 1, self.files[1]) >= 0:
            raise ArtifactError(f"{told} stands twice; {_ADVICE}")
        found = parse_json(f"{{{self._line(place)}}}", told, ArtifactError, _ADVICE)
        if found.keys() != {name}:
            raise ArtifactError(f"{told}: {len(found)} entries in its line, expected one; {_ADVICE}")
        return found[name]

    def files_below(self, folder: str) -> list[str]:
        """Names of files that begin with ``folder``, that of an adapter with a slash behind it."""
        found, (place, end) = [], self.files
        while (place := self.text.find(f'\n  "{folder}', place, end)) >= 0:
            place += len('\n  "')
            found.append(self.text[place : self.text.index('"', place)])
        return found

    @functools.cached_property
    def _lines(self) -> list[str]:
        start, end = self.adapters
        return self.text[start + 1 : end].split("\n")

    def _find(self, name: str) -> int:
        is_plain = name.startswith(_NO_FILE) and not any(sign in name for sign in '"\\\n')
        return self.text.find(f'\n  "{name}"', *self.files) if is_plain else -1

    def _line(self, place: int) -> str:
        return self.text[place + 1 : self.text.index("\n", place + 1)].removesuffix(",")


def find_lines(content: bytes | str) -> EntryLines | None:
    """The lines of a manifest that need not be read; None where they cannot be told apart, or there are none."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    start = text.find(_LIST + _OBJECT) + len(_LIST)
    end = text.find("\n ]", start)
    first = text.find(_FILE, end)
    last = text.find("\n", text.rfind(_FILE) + 1)
    if not len(_LIST) <= start < end < first < last or text[last - len(_END) : last] != _END or text[end - 1] != "}":
        return None
    if not _are_alike(text, start, end, _OBJECT) or not _are_alike(text, first, last, _FILE):
        return None
    names = _NAMED.findall(text, start, end)
    if not len(names) == text.count(_NAME, start, end) == text.count("\n", start, end):
        return None
    return None if "\\" in text[first:last] else EntryLines(text, (start, end), (first, last), tuple(names))


def _are_alike(text: str, start: int, end: int, begin: str) -> bool:
    """Whether every line begins with ``begin``, and all but the last end with a whole entry."""
    return text.count("\n", start, end) == 1 + text.count(_END + begin, start, end)


class UnreadFiles(Mapping[str, Any]):
    """Entries of files as JSON has them, by name: those that were ``known`` at once, and those of ``lines``.

    ``read_all`` gives all of them in their order; nothing but going through them needs it.
    """

    def __init__(
        self, known: Mapping[str, Any], lines: EntryLines, where: str, read_all: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._known = known
        self._lines = lines
        self._where = where
        self._read_all = read_all
        self._all: Mapping[str, Any] | None = None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._known or self._lines.has_file(name))

    def __getitem__(self, name: str) -> Any:
        if self._all is not None or name in self._known:
            return (self._known if self._all is None else self._all)[name]
        if not self._lines.has_file(name):
            raise KeyError(name)
        return self._lines.read_file(name, self._where)

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def below(self, folder: str) -> list[str]:
        """Names that begin with ``folder``, that of an adapter with a slash behind it."""
        return self._lines.files_below(folder)

    def _whole(self) -> Mapping[str, Any]:
        if self._all is None:
            self._all = self._read_all()
        return self._all
