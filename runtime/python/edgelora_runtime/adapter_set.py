"""Adapters by name and SPEC, packed once and kept ready to be bound, as many as a budget has room for.

name or SPEC -> BoundAdapter

``open_adapter.py`` reads, a packer packs, a session binds.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgelora_runtime.adapter import Spec, check_name, parse_spec
from edgelora_runtime.adapter_config import read_config
from edgelora_runtime.bound_adapter import BoundAdapter, bind
from edgelora_runtime.check_files import check_files
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.head import Tensors, packed_labels
from edgelora_runtime.head_info import find_head_info
from edgelora_runtime.invocation import no_blend
from edgelora_runtime.manifest import SMALL_FILE, HeadInfo, Manifest
from edgelora_runtime.open_adapter import open_adapter
from edgelora_runtime.packed_adapters import PackedCache
from edgelora_runtime.packers import Packer
from edgelora_runtime.packing import Packed, copied

_NO_WEIGHT = 1e-9
_MAX_MIXED = 16  # blends and row stacks kept ready; of single adapters the budget alone says how many


@dataclass(frozen=True)
class _Source:
    folder: Path
    is_trusted: bool  # whatever its receipt says
    listed: HeadInfo | None = None  # of the manifest
    labels: Sequence[str] | None = None  # as the caller gave them


@dataclass(frozen=True, eq=False)
class _Kept:
    packed: Packed
    bound: BoundAdapter  # over the same memory
    head: HeadInfo | None
    within: BoundAdapter | None = None  # the rows in whose memory it lies
    invocation: tuple[int, ...] = ()


class AdapterSet:
    """Every adapter that SPECs can name. Equal SPECs give the identical object as long as it is kept.

    What is dropped or loaded anew comes back as another object, so that nothing that was computed with the old one,
    and is known by it, is ever taken for the new one's. ``most_bytes`` bounds what is kept; what the last call asked
    for stays in any case. Of an encoder, from which nothing remains after a call, adapters move into the memory of rows
    that are made of them: ten of them, and the rows of all ten, take the memory of ten.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        packer: Packer,
        cache: PackedCache | None = None,
        most_bytes: int | None = None,
        base_head: Tensors = MappingProxyType({}),
    ) -> None:
        self._manifest = manifest
        self._packer = packer
        self._base_head = base_head
        self._head = () if manifest.encoder is None else manifest.encoder.head
        self._cache = cache
        self._most_bytes = most_bytes
        self._folder = folder
        # None for an adapter of the artifact whose entry and files nobody has asked for yet.
        self._sources: dict[str, _Source | None] = dict.fromkeys(manifest.adapter_names)
        self._none = bind(packer.blend([]))
        self._single: OrderedDict[str, _Kept] = OrderedDict()  # least recently used first
        self._mixed: OrderedDict[tuple[Spec, ...], BoundAdapter] = OrderedDict()  # likewise

    @property
    def names(self) -> tuple[str, ...]:
        """Known names, those of the artifact first."""
        return tuple(self._sources)

    @property
    def n_bytes(self) -> int:
        """Memory of all slot inputs that are kept ready."""
        own = (kept.bound for kept in self._single.values() if kept.within is None)
        return sum(item.n_bytes for item in (*own, *self._mixed.values()))

    def folder(self, name: str) -> Path:
        """Where a known name was read from."""
        return self._source(name).folder

    def load(self, name: str, folder: Path, trust: bool = False, labels: Sequence[str] | None = None) -> None:
        """Read, check and pack a PEFT folder, or map what was kept of it; ``name`` means it from now on."""
        check_name(name)
        source = _Source(folder, trust, None, labels)
        kept = self._read(name, source)
        self._forget(name)
        self._sources = {**self._sources, name: source}  # a new one: another thread may be looking at the old
        self._single[name] = kept
        self._drop_beyond_budget(kept.bound)

    def unload(self, name: str) -> None:
        """Forget a name and what was made of it; raises AdapterError for an unknown one."""
        check_name(name)
        self.parse(name)
        self._sources = {known: source for known, source in self._sources.items() if known != name}
        self._forget(name)

    def clear(self) -> None:
        """Let go of everything that is kept ready."""
        self._single.clear()
        self._mixed.clear()

    def holds(self, adapter: BoundAdapter) -> bool:
        """Whether ``adapter`` is kept ready."""
        kept = (self._none, *(item.bound for item in self._single.values()), *self._mixed.values())
        return any(item is adapter for item in kept)

    def find(self, text: str) -> BoundAdapter:
        """The adapter of one SPEC; raises AdapterError for a malformed SPEC or an unknown name."""
        return self._bound(self.parse(text))

    def find_rows(self, texts: Sequence[str]) -> BoundAdapter:
        """One SPEC for each row of a batch; a shared one stays a single adapter."""
        specs = tuple(self.parse(text) for text in texts)
        if len(set(specs)) == 1:
            return self._bound(specs[0])
        found = self._keep(specs, lambda: self._packer.stack([self._packed(spec) for spec in specs]))
        if self._manifest.encoder is not None:
            self._move_into(found, specs)
        return found

    def head(self, text: str) -> HeadInfo | None:
        """What the head of one SPEC means, None where the model has no head.

        Raises AdapterError where neither an adapter nor the base has one, and for a blend of unlike heads.
        """
        spec = self.parse(text)
        if not self._head:
            return None
        if not spec:
            own = None if self._manifest.encoder is None else self._manifest.encoder.base_head
            if own is None:
                known = ", ".join(self._sources) or "no adapters"
                raise AdapterError(f"{self._manifest.model.name} has no head of its own; use an adapter: {known}")
            return own
        heads = [(name, weight, self._keep_single(name).head) for name, weight in spec]
        (first, _, one), *others = [(name, weight, head) for name, weight, head in heads if head is not None]
        for name, _, head in others:
            if (head.labels, head.problem_type) != (one.labels, one.problem_type):
                raise AdapterError(
                    f"adapter SPEC {text!r}: {first} and {name} have heads for other labels or problems, and no head "
                    "lies between them; blend adapters with the same labels"
                )
        total = sum(weight for _, weight, _ in heads)
        if not others or abs(total) < _NO_WEIGHT:  # such a blend is refused where heads are blended
            return one
        mean = sum(weight * head.temperature for _, weight, head in heads if head is not None) / total
        return dataclasses.replace(one, temperature=max(mean, _NO_WEIGHT))

    def parse(self, text: str) -> Spec:
        """The SPEC taken apart, every name known; raises AdapterError for a blend with an activated adapter, too."""
        spec, sources = parse_spec(text), self._sources
        unknown = sorted({name for name, _ in spec} - sources.keys())
        if unknown:
            known = ", ".join(sources) or "no adapters"
            close = difflib.get_close_matches(unknown[0], sources, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise AdapterError(f"unknown adapter {', '.join(map(repr, unknown))}; this model has: {known}{hint}")
        if len(spec) > 1 and (activated := next((name for name, _ in spec if self._invocation(name)), None)):
            raise no_blend(text, activated)
        return spec

    def _source(self, name: str) -> _Source:
        """Where a known name is read from; an adapter of the artifact is compared with the manifest first."""
        sources = self._sources
        found = sources[name]
        if found is None:
            info = self._manifest.adapters[self._manifest.adapter_names.index(name)]
            check_files(self._folder, self._manifest, self._manifest.files_of(name), SMALL_FILE)
            found = _Source(self._folder / info.path, False, info.head)
            if self._sources is sources:  # another thread may have given the name another meaning
                self._sources = {**sources, name: found}
        return found

    def invocation(self, text: str) -> tuple[int, ...]:
        """Token ids from whose last place in a prompt on one SPEC acts; none where it acts on every token."""
        spec = self.parse(text)
        return self._invocation(spec[0][0]) if spec else ()

    def _invocation(self, name: str) -> tuple[int, ...]:
        kept = self._single.get(name)
        if kept is not None:
            return kept.invocation
        return read_config(self._source(name).folder, bool(self._head), with_gains=True).invocation

    def _bound(self, spec: Spec) -> BoundAdapter:
        if not spec:
            return self._none
        if _is_whole(spec):
            found = self._keep_single(spec[0][0]).bound
            self._drop_beyond_budget(found)
            return found
        return self._keep((spec,), lambda: self._blend(spec), self._before(self._invocation(spec[0][0])))

    def _before(self, invocation: tuple[int, ...]) -> BoundAdapter | None:
        return self._none if invocation else None

    def _keep(
        self, key: tuple[Spec, ...], build: Callable[[], Packed], before: BoundAdapter | None = None
    ) -> BoundAdapter:
        found = self._mixed.get(key)
        if found is None:
            found = self._mixed[key] = bind(build(), before)
            if len(self._mixed) > _MAX_MIXED:
                self._drop_mixed(next(iter(self._mixed)))
        self._mixed.move_to_end(key)
        self._drop_beyond_budget(found)
        return found

    def _move_into(self, rows: BoundAdapter, specs: Sequence[Spec]) -> None:
        """Let the adapters that rows are made of lie where the rows are."""
        for row, spec in enumerate(specs):
            kept = self._single.get(spec[0][0]) if _is_whole(spec) else None
            if kept is None or kept.within is not None:
                continue
            packed = self._packer.row(rows.arrays, row, kept.packed)
            if packed is not None:
                self._single[spec[0][0]] = dataclasses.replace(
                    kept, packed=packed, bound=bind(packed, kept.bound.before), within=rows
                )

    def _drop_mixed(self, key: tuple[Spec, ...]) -> None:
        """Let go of a mixture; adapters that lie in it get memory of their own again."""
        gone = self._mixed.pop(key)
        for name, kept in self._single.items():
            if kept.within is gone:
                packed = copied(kept.packed)
                self._single[name] = dataclasses.replace(
                    kept, packed=packed, bound=bind(packed, kept.bound.before), within=None
                )

    def _packed(self, spec: Spec) -> Packed:
        return self._keep_single(spec[0][0]).packed if _is_whole(spec) else self._blend(spec)

    def _blend(self, spec: Spec) -> Packed:
        return self._packer.blend([(self._keep_single(name).packed, weight) for name, weight in spec])

    def _keep_single(self, name: str) -> _Kept:
        if name not in self._single:
            self._single[name] = self._read(name, self._source(name))
        self._single.move_to_end(name)
        return self._single[name]

    def _forget(self, name: str) -> None:
        self._single.pop(name, None)
        stale = [key for key in self._mixed if any(part == name for spec in key for part, _ in spec)]
        for key in stale:
            self._drop_mixed(key)

    def _drop_beyond_budget(self, needed: BoundAdapter) -> None:
        """Let go of what was not used for longest, mixtures first: they are made of what is there."""
        if self._most_bytes is None:
            return
        home = next((item.within for item in self._single.values() if item.bound is needed), None)
        for key in [key for key, item in self._mixed.items() if item is not needed and item is not home]:
            if self.n_bytes > self._most_bytes:
                self._drop_mixed(key)
        free = [name for name, item in self._single.items() if item.bound is not needed and item.within is None]
        for name in free:
            if self.n_bytes > self._most_bytes:
                del self._single[name]

    def _read(self, name: str, source: _Source) -> _Kept:
        """Checked and packed, or as it was kept when it passed the same check."""
        path = None if self._cache is None else self._cache.find(source.folder, source.is_trusted)
        packed = None if self._cache is None or path is None else self._cache.read(path)
        where = f"adapter {name!r} ({source.folder})"
        if packed is None:
            adapter = open_adapter(
                source.folder, self._manifest, where, base_head=self._base_head, trust=source.is_trusted
            )
            packed, invocation = self._packer.pack(adapter), adapter.invocation
            if self._cache is not None and path is not None:
                self._cache.write(path, packed)
        else:
            invocation = read_config(source.folder, bool(self._head), with_gains=True).invocation
        before = self._before(invocation)
        return _Kept(packed, bind(packed, before), self._head_info(packed, source, where), invocation=invocation)

    def _head_info(self, packed: Packed, source: _Source, where: str) -> HeadInfo | None:
        if not self._head:
            return None
        count = packed_labels(packed, self._head)
        return find_head_info(
            source.folder, count, where, trust=source.is_trusted, listed=source.listed, labels=source.labels
        )


def _is_whole(spec: Spec) -> bool:
    """Whether it names one adapter as it was trained."""
    return len(spec) == 1 and spec[0][1] == 1.0
