"""The index of an artifact: read, check, write.

manifest.json -> Manifest, and back

``docs/format.md`` is the format in words; the compiler writes through the same classes that every runtime reads.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelora_runtime.check_manifest import CACHES, PROBLEM_TYPES, STORES, TASKS, find_wrong
from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.files import restore
from edgelora_runtime.json_fields import build
from edgelora_runtime.names import resolve_inside
from edgelora_runtime.parse_json import join_some, parse_json, show

FORMAT = "edgelora"
FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"

FLOAT_CACHE, INT8_CACHE = CACHES
FLOAT_STORE, HALF_STORE, INT8_STORE = STORES
TEXT_GENERATION, TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION, FEATURE_EXTRACTION, IMAGE_CLASSIFICATION = TASKS
SINGLE_LABEL, MULTI_LABEL, REGRESSION = PROBLEM_TYPES

PIECE_BYTES = 4 << 20  # what a download that breaks off loses at most, and what a phone holds of a file in memory

_WORDS = ("title", "description", "examples", "license", "source")
_LONGEST = 32 << 20  # bytes; an artifact of a hundred layers and a hundred adapters has one


@dataclass(frozen=True)
class SlotPart:
    """The output columns of a slot that one module of the checkpoint owns: ``offset`` to ``offset + out_features``."""

    module: str
    offset: int
    out_features: int


@dataclass(frozen=True)
class Slot:
    """A place in the graph where an adapter plugs in; ``a`` and ``b`` name its graph inputs."""

    name: str
    a: str  # input (n, in_features, rank)
    b: str  # input (n, rank, out_features)
    in_features: int
    out_features: int
    parts: tuple[SlotPart, ...]


@dataclass(frozen=True)
class ModelInfo:
    """What a runtime must know of the model to drive it; what has no KV cache has 0 for its three sizes.

    ``vocab_size`` is 0 in a model of images.
    """

    name: str
    architecture: str
    vocab_size: int
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

    def to_record(self) -> dict[str, Any]:
        """What stands in ``manifest.json``; words that nobody has said are left out."""
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
    adapters: tuple[AdapterInfo, ...]
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

    def to_json(self) -> str:
        """The manifest as it stands in ``manifest.json``."""
        files = {name: info.to_record() for name, info in self.files.items()}
        adapters = [info.to_record() for info in self.adapters]
        data = {**dataclasses.asdict(self), "files": files, "adapters": adapters}
        data["base"] = _said(data["base"])
        text = json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
        return text + "\n"


def _said(record: Mapping[str, Any]) -> dict[str, Any]:
    """``record`` without the words for people that it does not have."""
    return {name: value for name, value in record.items() if name not in _WORDS or value}


def parse_manifest(content: str | bytes, where: str = MANIFEST_FILE) -> Manifest:
    """Parse and check ``manifest.json``; raises ArtifactError naming the field that is wrong."""
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
    manifest: Manifest = build(Manifest, data, where, _NESTED)
    wrong = join_some(find_wrong(manifest))
    if wrong:
        raise ArtifactError(f"{where}: {wrong}; export the artifact again")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the artifact in ``folder``; raises ArtifactError when it is missing or wrong."""
    path = folder / MANIFEST_FILE
    restore(folder)
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder; expected an artifact written by `edgelora export`")
    if not path.is_file():
        raise ArtifactError(f"{folder} has no {MANIFEST_FILE}; expected an artifact written by `edgelora export`")
    resolve_inside(folder, MANIFEST_FILE)
    with path.open("rb") as stream:
        return parse_manifest(stream.read(_LONGEST + 1), str(path))


def cache_bytes(manifest: Manifest) -> int:
    """Bytes of the KV cache for each token of a row."""
    model = manifest.model
    numbers = 2 * model.num_layers * model.num_kv_heads * model.head_dim
    return numbers if manifest.graph.kv_cache == INT8_CACHE else 4 * numbers


def file_info(path: Path) -> FileInfo:
    """Size and hash of a file on disk."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return FileInfo(path.stat().st_size, digest.hexdigest())


def listed_info(path: Path) -> FileInfo:
    """What a manifest says of a file on disk: its size, its hash and, where it has several, those of its pieces."""
    whole = hashlib.sha256()
    pieces: list[str] = []
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            whole.update(piece)
            pieces.append(hashlib.sha256(piece).hexdigest())
    several = Pieces(PIECE_BYTES, tuple(pieces)) if len(pieces) > 1 else None
    return FileInfo(path.stat().st_size, whole.hexdigest(), several)


def check_files(folder: Path, manifest: Manifest, hashes: bool = True) -> None:
    """Compare every file with the manifest; raises one ArtifactError that lists all differences."""
    wrong: list[str] = []
    for name, expected in manifest.files.items():
        path = resolve_inside(folder, name)
        if not path.is_file():
            wrong.append(f"{name}: missing")
        elif path.stat().st_size != expected.bytes:
            wrong.append(f"{name}: {path.stat().st_size} bytes, expected {expected.bytes}")
        elif hashes and (found := file_info(path).sha256) != expected.sha256:
            wrong.append(f"{name}: sha256 {found[:12]}…, expected {expected.sha256[:12]}…")
    if wrong:
        raise ArtifactError(f"{folder} is damaged: {join_some(wrong)}; copy or export it again")


_NESTED = {
    kind.__name__: kind
    for kind in (
        SlotPart,
        Slot,
        ModelInfo,
        HeadInfo,
        HeadTensor,
        EncoderInfo,
        GraphInfo,
        TokenizerInfo,
        BaseInfo,
        AdapterInfo,
        Pieces,
        FileInfo,
    )
}
