"""Adapters by name and SPEC, packed once and kept ready to be bound.

Knows nothing about tokens or text; ``adapter.py`` packs, ``session.py`` binds.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from edgelora_runtime.adapter import WEIGHTS_FILE, Spec, check_name, fit_adapter, parse_spec, read_adapter
from edgelora_runtime.adapter_config import CONFIG_FILE
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.manifest import Manifest, file_info
from edgelora_runtime.packed_cache import PackedCache
from edgelora_runtime.packing import Packed, blend_packed, pack_adapter, stack_packed
from edgelora_runtime.session import BoundAdapter, Session

_MAX_MIXED = 16  # blends and row stacks kept ready; single adapters are all kept


class AdapterSet:
    """Every adapter that SPECs can name. Equal SPECs give the identical object until a name is loaded anew."""

    def __init__(self, folder: Path, manifest: Manifest, session: Session, cache: PackedCache | None = None) -> None:
        self._slots = manifest.slots
        self._session = session
        self._cache = cache
        self._folders = {item.name: folder / item.path for item in manifest.adapters}
        self._packed: dict[str, Packed] = {}
        self._single: dict[Spec, BoundAdapter] = {(): session.prepare(blend_packed([], self._slots))}
        self._mixed: OrderedDict[tuple[Spec, ...], BoundAdapter] = OrderedDict()

    @property
    def names(self) -> tuple[str, ...]:
        """Known names, those of the artifact first."""
        return tuple(self._folders)

    def folder(self, name: str) -> Path:
        """Where a known name was read from."""
        return self._folders[name]

    def load(self, name: str, folder: Path) -> None:
        """Read, check and pack a PEFT folder, or map what was kept of it; ``name`` means it from now on."""
        check_name(name)
        cache = self._cache
        self._packed[name] = self._read(name, folder) if cache is None else self._map(cache, name, folder)
        self._folders[name] = folder
        stale = [spec for spec in self._single if any(part == name for part, _ in spec)]
        for spec in stale:
            del self._single[spec]
        self._mixed.clear()

    def find(self, text: str) -> BoundAdapter:
        """The adapter of one SPEC; raises AdapterError for a malformed SPEC or an unknown name."""
        return self._bound(self.parse(text))

    def find_rows(self, texts: Sequence[str]) -> BoundAdapter:
        """One SPEC for each row of a batch; a shared one stays a single adapter."""
        specs = tuple(self.parse(text) for text in texts)
        if len(set(specs)) == 1:
            return self._bound(specs[0])
        return self._keep(specs, lambda: stack_packed([self._blend(spec) for spec in specs], self._slots))

    def identify(self, text: str) -> str:
        """A SPEC with the SHA-256 of each adapter's files in place of its name."""
        parts = []
        for name, weight in self.parse(text):
            hashes = [file_info(self._folders[name] / file).sha256 for file in (WEIGHTS_FILE, CONFIG_FILE)]
            parts.append(f"{':'.join(hashes)}:{weight!r}")
        return "+".join(parts)

    def parse(self, text: str) -> Spec:
        """The SPEC taken apart, every name known."""
        spec = parse_spec(text)
        unknown = sorted({name for name, _ in spec} - self._folders.keys())
        if unknown:
            known = ", ".join(self._folders) or "no adapters"
            close = difflib.get_close_matches(unknown[0], self._folders, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise AdapterError(f"unknown adapter {', '.join(map(repr, unknown))}; this model has: {known}{hint}")
        return spec

    def _bound(self, spec: Spec) -> BoundAdapter:
        found = self._single.get(spec)
        if found is not None:
            return found
        if len(spec) == 1 and spec[0][1] == 1.0:
            found = self._single[spec] = self._session.prepare(self._pack(spec[0][0]))
            return found
        return self._keep((spec,), lambda: self._blend(spec))

    def _keep(self, key: tuple[Spec, ...], build: Callable[[], Packed]) -> BoundAdapter:
        found = self._mixed.get(key)
        if found is None:
            found = self._mixed[key] = self._session.prepare(build())
            if len(self._mixed) > _MAX_MIXED:
                self._mixed.popitem(last=False)
        self._mixed.move_to_end(key)
        return found

    def _blend(self, spec: Spec) -> Packed:
        return blend_packed([(self._pack(name), weight) for name, weight in spec], self._slots)

    def _pack(self, name: str) -> Packed:
        if name not in self._packed:
            self.load(name, self._folders[name])
        return self._packed[name]

    def _read(self, name: str, folder: Path) -> Packed:
        adapter = read_adapter(folder)
        fit_adapter(adapter, self._slots, f"adapter {name!r} ({folder})")
        return pack_adapter(adapter, self._slots)

    def _map(self, cache: PackedCache, name: str, folder: Path) -> Packed:
        path = cache.find(folder)
        packed = cache.read(path)
        if packed is None:
            packed = self._read(name, folder)
            cache.write(path, packed)
        return packed
