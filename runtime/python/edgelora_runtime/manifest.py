"""The index of an artifact: read, check, write.

manifest.json -> Manifest, and back

``docs/format.md`` is the format in words; the compiler writes through the same classes that every runtime reads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from edgelora_runtime.check_manifest import (
    CACHES,
    PROBLEM_TYPES,
    STORES,
    TASKS,
    find_wrong,
    find_wrong_adapter,
    find_wrong_file,
)
from edgelora_runtime.entry_lines import UnreadFiles, find_lines
from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.files import restore
from edgelora_runtime.json_fields import build
from edgelora_runtime.listed import ListedEntries, NamedEntries
from edgelora_runtime.manifest_text import manifest_text
from edgelora_runtime.names import is_adapter_name, resolve_inside, shared_file
from edgelora_runtime.parse_json import join_some, parse_json, show

FORMAT = "edgelora"
FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
ADAPTER_FOLDER = "adapters/"  # of every adapter's folder, and of files that adapters share
SMALL_FILE = 4 << 20  # bytes; hashing a file up to here costs nothing beside reading it

FLOAT_CACHE, INT8_CACHE = CACHES
FLOAT_STORE, HALF_STORE, INT8_STORE = STORES
TEXT_GENERATION, TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION, FEATURE_EXTRACTION, IMAGE_CLASSIFICATION = TASKS
SINGLE_LABEL, MULTI_LABEL, REGRESSION = PROBLEM_TYPES

_OPTIONAL = ("title", "description", "examples", "license", "source", "gain", "shared")
_LONGEST = 32 << 20  # bytes; an artifact of a hundred layers and a hundred adapters has one


@dataclass(frozen=True)
class SlotPart:
    """The output columns of a slot that one module of the checkpoint owns: ``offset`` to ``offset + out_features``."""

    module: str
    offset: int
    out_features: int


@dataclass(frozen=True)
class Slot:
    """A place in the graph where an adapter plugs in; ``a``, ``b`` and ``gain`` name its graph inputs."""

    name: str
    a: str  # input (n, in_features, rank)
    b: str  # input (n, rank, out_features)
    in_features: int
    out_features: int
    parts: tuple[SlotPart, ...]
    gain: str | None = None  # input (n, 1, out_features), where DoRA has a place


@dataclass(frozen=True)
class ModelInfo:
    """What a runtime must know of the model to drive it; what has no KV cache has 0 for its three sizes."""

    name: str
    architecture: str
    vocab_size: int  # 0 in a model of images
    num_layers: int
    num_kv_heads: int
    head_dim: int
    context_length: int
    eos_token_ids: tuple[int, ...]


@dataclass(frozen=True)
class HeadInfo:
    """What the outputs of a head mean: ``labels`` in the order of its rows, and how logits become scores.

    ``problem_type`` is that of transformers: ``single_label_classification`` (softmax), ``multi_label_classification``
    (a sigmoid each) or ``regression`` (the numbers themselves). Logits are divided by ``temperature`` first.
    """

    labels: tuple[str, ...]
    problem_type: str = SINGLE_LABEL
    temperature: float = 1.0


@dataclass(frozen=True)
class HeadTensor:
    """A tensor of the head that is fed as a slot is. ``sizes`` are those of the checkpoint; 0 is the number of labels.

    Two sizes (out, in) are fed as (n, in, out), one size as (n, 1, size).
    """

    tensor: str  # its name in the checkpoint, such as classifier.weight
    input: str  # of the graph
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class EncoderInfo:
    """What a runtime must know to drive a graph without a KV cache.

    ``inputs`` are those beside slots and head, ``output`` is the one output. ``head_file`` holds what the base itself
    has of the head; ``base_head`` is None where that is no whole head, so that only adapters can answer.
    """

    inputs: tuple[str, ...]  # input_ids and attention_mask, or pixel_values
    output: str  # logits, or embeddings
    hidden_size: int
    head: tuple[HeadTensor, ...] = ()
    head_file: str | None = None
    base_head: HeadInfo | None = None
    one_adapter: bool = False  # rows of a call share an adapter: some slots act on what no row owns
    image_size: tuple[int, ...] = ()  # channels, height, width


@dataclass(frozen=True)
class GraphInfo:
    """The graph file, the one file its initializers live in, and the graph's twins over the same file.

    ``without_slots`` takes no adapter, ``fused`` needs the operators of ``edgelora-ops``. ``kv_cache`` is the type of
    what all of them keep in the KV cache: float32, or int8 with steps of their own.
    """

    file: str
    weights: str
    without_slots: str | None = None
    kv_cache: str = FLOAT_CACHE
    fused: str | None = None


@dataclass(frozen=True)
class TokenizerInfo:
    """Tokenizer file, chat template file, the special tokens that templates ask for, and other variables of theirs."""

    file: str
    chat_template: str | None = None
    bos_token: str | None = None
    eos_token: str | None = None
    pad_token: str | None = None
    unk_token: str | None = None
    template_variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BaseInfo:
    """Identity of the base: ``fingerprint`` of its float32 weights, ``grid`` of the values that were shipped.

    For people: its ``source``, such as owner/name@revision, and its ``license``.
    """

    fingerprint: str
    grid: str
    source: str | None = None
    license: str | None = None


@dataclass(frozen=True)
class AdapterInfo:
    """One adapter of the artifact: a PEFT folder at ``path``, its factors rounded as ``store`` says.

    ``shared`` is the SHA-256 of a file beside that folder with factors that others may have too.
    ``title``, ``description``, ``examples`` (texts to give it) and ``license`` are for people.
    """

    name: str
    path: str
    rank: int
    store: str = FLOAT_STORE
    head: HeadInfo | None = None
    title: str | None = None
    description: str | None = None
    examples: tuple[str, ...] = ()
    license: str | None = None
    shared: str | None = None

    def to_record(self) -> dict[str, Any]:
        """What stands in ``manifest.json``; words that nobody has said, and what is not shared, are left out."""
        return _said(dataclasses.asdict(self))


@dataclass(frozen=True)
class Pieces:
    """SHA-256 (hex) of each ``size`` bytes of a file in their order; the last piece may be shorter."""

    size: int
    sha256: tuple[str, ...]


@dataclass(frozen=True)
class FileInfo:
    """Size and SHA-256 (hex) of one file, and of its pieces where it has more than one."""

    bytes: int
    sha256: str
    pieces: Pieces | None = None

    def to_record(self) -> dict[str, Any]:
        """What stands in ``manifest.json``; ``pieces`` are left out where there are none."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Manifest:
    """The whole index. ``quantization`` and ``report`` are records for people; runtimes do not act on them."""

    producer: str
    target: str
    model: ModelInfo
    graph: GraphInfo
    base: BaseInfo
    slots: tuple[Slot, ...]
    adapters: Sequence[AdapterInfo]
    files: Mapping[str, FileInfo]
    task: str = TEXT_GENERATION
    encoder: EncoderInfo | None = None
    tokenizer: TokenizerInfo | None = None
    reference: str | None = None
    quantization: Mapping[str, Any] = field(default_factory=dict)
    merged: Mapping[str, Any] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    format: str = FORMAT
    format_version: int = FORMAT_VERSION

    @property
    def adapter_names(self) -> tuple[str, ...]:
        """Names of all adapters in their order; no entry is read for them."""
        known = self.adapters
        return known.names if isinstance(known, ListedEntries) else tuple(info.name for info in known)

    @property
    def files_of_base(self) -> tuple[str, ...]:
        """Names of the files that are no adapter's; no entry of another is read for them."""
        files = self.files.known if isinstance(self.files, NamedEntries) else self.files
        return tuple(name for name in files if not name.startswith(ADAPTER_FOLDER))

    def files_of(self, adapter: str) -> tuple[str, ...]:
        """Names of the files in the folder of an adapter, and of the one that it shares with others."""
        names, files, folder = self.adapter_names, self.files, f"{ADAPTER_FOLDER}{adapter}/"
        if isinstance(files, NamedEntries):
            found = files.below(folder)
        else:
            found = [name for name in files if name.startswith(folder)]
        shared = self.adapters[names.index(adapter)].shared if adapter in names else None
        return (*found, *(() if shared is None else (ADAPTER_FOLDER + shared_file(shared),)))

    def files_by_adapter(self) -> Mapping[str, tuple[str, ...]]:
        """The files in the folder of every adapter, in one pass over all files."""
        found: dict[str, list[str]] = {name: [] for name in self.adapter_names}
        for file in self.files:
            parts = file.split("/", 2)
            if len(parts) == 3 and f"{parts[0]}/" == ADAPTER_FOLDER and parts[1] in found:
                found[parts[1]].append(file)
        return {name: tuple(files) for name, files in found.items()}

    def to_json(self) -> str:
        """The manifest as it stands in ``manifest.json``."""
        files = {name: info.to_record() for name, info in self.files.items()}
        plain = dataclasses.asdict(dataclasses.replace(self, files={}, adapters=()))
        lists = {"slots": list(map(_said, plain["slots"])), "adapters": [info.to_record() for info in self.adapters]}
        return manifest_text({**plain, **lists, "files": files, "base": _said(plain["base"])})


def _said(record: Mapping[str, Any]) -> dict[str, Any]:
    """``record`` without what may be left out and is not there, such as words for people."""
    return {name: value for name, value in record.items() if name not in _OPTIONAL or value}


def parse_manifest(content: str | bytes, where: str = MANIFEST_FILE) -> Manifest:
    """Parse and check ``manifest.json``, every entry; raises ArtifactError naming the field that is wrong."""
    return _build_whole(_parse(content, where), where)


def open_manifest(content: str | bytes, where: str = MANIFEST_FILE) -> Manifest:
    """Parse ``manifest.json``, and check all of it but what it says of adapters besides their names.

    The entry of an adapter and those of its files are checked when somebody asks for them, and raise ArtifactError
    then: an artifact with a thousand adapters opens like one with three.
    """
    lines = find_lines(content) if len(content) <= _LONGEST else None
    if lines is not None:
        with contextlib.suppress(ArtifactError):  # the whole says what is wrong, and where
            data = _parse(lines.without(), where)
            if lines.take_out(data) and _are_names(lines.names):
                files = UnreadFiles(data["files"], lines, where, lambda: _parse(lines.text, where)["files"])
                return _open(data, lines.names, functools.partial(lines.read_adapter, where=where), files, where)
    data = _parse(content, where)
    adapters, listed = data.get("adapters"), data.get("files")
    if isinstance(adapters, list) and isinstance(listed, dict):
        names = [item.get("name") if isinstance(item, dict) else None for item in adapters]
        if _are_names(names):
            return _open(data, names, adapters.__getitem__, listed, where)
    return _build_whole(data, where)  # raises, for it says what is wrong


def _are_names(names: Sequence[object]) -> TypeGuard[Sequence[str]]:
    return all(isinstance(name, str) and is_adapter_name(name) for name in names) and len({*names}) == len(names)


def _open(
    data: Mapping[str, Any], names: Sequence[str], adapter: Callable[[int], Any], files: Mapping[str, Any], where: str
) -> Manifest:
    """The manifest of ``data``; entries of adapters and of their files are read when they are asked for."""
    own = {name: info for name, info in data["files"].items() if not name.startswith(ADAPTER_FOLDER)}
    base = _build_whole({**data, "adapters": [], "files": own}, where)

    def read_adapter(index: int) -> AdapterInfo:
        info: AdapterInfo = build(AdapterInfo, adapter(index), f"{where}: adapters[{index}]", _NESTED)
        _refuse(find_wrong_adapter(index, info, found), where)
        return info

    def read_file(name: str) -> FileInfo:
        info: FileInfo = build(FileInfo, files[name], f"{where}: files: {show(name)}", _NESTED)
        _refuse(find_wrong_file(name, info), where)
        return info

    found = dataclasses.replace(
        base, adapters=ListedEntries(names, read_adapter), files=NamedEntries(files, base.files, read_file)
    )
    return found


def _parse(content: str | bytes, where: str) -> Mapping[str, Any]:
    data = parse_json(content, where, ArtifactError, "export the artifact again", _LONGEST)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = show(data.get("format")) if isinstance(data, dict) else type(data).__name__
        raise ArtifactError(f"{where}: format is {found}, expected {FORMAT!r}; this is no EdgeLoRA artifact")
    version = data.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ArtifactError(f"{where}: format_version is {show(version)}, expected {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{where}: format_version {show(version)} is newer than {FORMAT_VERSION}, the newest this runtime reads; "
            "update edgelora"
        )
    return data


def _build_whole(data: Mapping[str, Any], where: str) -> Manifest:
    manifest: Manifest = build(Manifest, data, where, _NESTED)
    _refuse(find_wrong(manifest), where)
    return manifest


def _refuse(lines: Iterable[str], where: str) -> None:
    if wrong := join_some(lines):
        raise ArtifactError(f"{where}: {wrong}; export the artifact again")


def read_manifest(folder: Path) -> Manifest:
    """The manifest in ``folder``, as ``open_manifest`` reads it; raises ArtifactError when it is missing or wrong."""
    path = folder / MANIFEST_FILE
    restore(folder)
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder; expected an artifact written by `edgelora export`")
    if not path.is_file():
        raise ArtifactError(f"{folder} has no {MANIFEST_FILE}; expected an artifact written by `edgelora export`")
    resolve_inside(folder, MANIFEST_FILE)
    with path.open("rb") as stream:
        return open_manifest(stream.read(_LONGEST + 1), str(path))


def cache_bytes(manifest: Manifest) -> int:
    """Bytes of the KV cache for each token of a row."""
    model = manifest.model
    size = 1 if manifest.graph.kv_cache == INT8_CACHE else 4
    return 2 * model.num_layers * model.num_kv_heads * model.head_dim * size


def file_info(path: Path) -> FileInfo:
    """Size and hash of a file on disk."""
    with path.open("rb") as stream:
        return FileInfo(path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


_RECORDS = (SlotPart, Slot, ModelInfo, HeadInfo, HeadTensor, EncoderInfo, GraphInfo, TokenizerInfo, BaseInfo)
_NESTED = {kind.__name__: kind for kind in (*_RECORDS, AdapterInfo, Pieces, FileInfo)}
