"""Entries of a manifest that are read and checked when somebody first asks for them: there may be thousands.

names, reader of one entry -> Sequence or Mapping of entries
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar, overload

from edgelora_runtime.entry_lines import UnreadFiles

Entry = TypeVar("Entry")


class ListedEntries(Sequence[Entry], Generic[Entry]):
    """Entries in their order, each read once; ``read`` gets its number and raises where the entry is wrong."""

    def __init__(self, names: Sequence[str], read: Callable[[int], Entry]) -> None:
        self.names = tuple(names)  # known without reading an entry
        self._read = read
        self._held: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Entry, ...]: ...
    def __getitem__(self, index: int | slice) -> Entry | tuple[Entry, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]
        if number not in self._held:
            self._held[number] = self._read(number)
        return self._held[number]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


class NamedEntries(Mapping[str, Entry], Generic[Entry]):
    """Entries by name, each read once; ``known`` were read already, ``read`` raises where an entry is wrong."""

    def __init__(self, names: Mapping[str, object], known: Mapping[str, Entry], read: Callable[[str], Entry]) -> None:
        self.known = known
        self._names = names
        self._held = dict(known)
        self._read = read

    def below(self, folder: str) -> Sequence[str]:
        """Names that begin with ``folder``, which is that of an adapter with a slash behind it."""
        if isinstance(self._names, UnreadFiles):
            return self._names.below(folder)
        return [name for name in self._names if name.startswith(folder)]

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Entry:
        if name not in self._held:
            if name not in self._names:
                raise KeyError(name)
            self._held[name] = self._read(name)
        return self._held[name]
