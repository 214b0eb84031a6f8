"""What a library knows of an adapter, and how it is read from the adapter's folder.

PEFT folder -> Entry, and back from ``entry.json``
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelora.adapter.task import find_task
from edgelora.artifact.about import ABOUT_FILE, read_about
from edgelora.errors import AdapterError, ArtifactError
from edgelora_runtime.adapter import WEIGHTS_FILE, Adapter, read_adapter
from edgelora_runtime.adapter_config import CONFIG_FILE
from edgelora_runtime.json_fields import build
from edgelora_runtime.manifest import FileInfo, file_info
from edgelora_runtime.names import is_adapter_name, is_hash
from edgelora_runtime.parse_json import parse_json, read_json, show
from edgelora_runtime.receipt import RECEIPT_FILE, Receipt, read_receipt

ENTRY_FILE = "entry.json"
LABELS_FILE = "config.json"  # of a classifier: what the rows of its head are called
KEPT_FILES = (CONFIG_FILE, WEIGHTS_FILE, RECEIPT_FILE, ABOUT_FILE, LABELS_FILE)
KEY_FILES = (CONFIG_FILE, WEIGHTS_FILE)  # what an adapter is: the others say something of it
SHOWN_KEY = 12  # digits of a key that people see

_LONGEST = 4 << 20  # bytes of an entry


@dataclass(frozen=True)
class Entry:
    """One adapter of a library. ``key`` is its content's, ``name`` what its owner calls it; both are there once.

    ``factors`` is the same for adapters that compute the same with other files. ``added`` is UTC, as ISO 8601 has it.
    """

    key: str
    name: str
    added: str
    bytes: int  # of all files
    rank: int  # the largest
    modules: int
    factors: str
    base: str | None = None
    fingerprint: str | None = None  # of the base
    grid: str | None = None
    task: str | None = None
    title: str | None = None
    description: str | None = None
    license: str | None = None
    tags: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """The entry as JSON has it."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

    def age_days(self, now: datetime.datetime) -> float:
        """Days since it was added."""
        return (now - datetime.datetime.fromisoformat(self.added)).total_seconds() / 86400


def describe(folder: Path, name: str, files: Mapping[str, FileInfo], added: datetime.datetime) -> Entry:
    """The entry of an adapter whose ``files`` lie in ``folder``; raises AdapterError where it cannot be read."""
    adapter = read_adapter(folder, with_head=True)
    receipt = read_receipt(folder) or Receipt("", "")
    about = read_about(folder)
    return Entry(
        key=key_of(files),
        name=name,
        added=added.astimezone(datetime.UTC).isoformat(timespec="seconds"),
        bytes=sum(info.bytes for info in files.values()),
        rank=adapter.rank,
        modules=len(adapter.factors),
        factors=_digest_factors(adapter),
        base=receipt.name or adapter.base,
        fingerprint=receipt.fingerprint or None,
        grid=receipt.grid,
        task=find_task(folder),
        title=about.title,
        description=about.description,
        license=about.license,
        scores=_scores_of(receipt),
    )


def list_files(folder: Path) -> dict[str, FileInfo]:
    """Size and hash of what a library keeps of a PEFT folder."""
    return {name: file_info(folder / name) for name in KEPT_FILES if (folder / name).is_file()}


def key_of(files: Mapping[str, FileInfo]) -> str:
    """The key of an adapter: SHA-256 over those of its configuration and its factors."""
    told = [[name, files[name].sha256] for name in KEY_FILES]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def parse_entry(data: Any, where: str) -> Entry:
    """An entry from JSON; raises AdapterError for one that no library has written."""
    try:
        entry: Entry = build(Entry, data, where, {})
    except ArtifactError as error:
        raise AdapterError(str(error)) from error
    is_time = True
    try:
        is_time = datetime.datetime.fromisoformat(entry.added).tzinfo is not None
    except ValueError:
        is_time = False
    if not (is_hash(entry.key) and is_hash(entry.factors) and is_adapter_name(entry.name) and is_time):
        raise AdapterError(f"{where}: key, name, factors or added is wrong; found name {show(entry.name)}")
    return entry


def read_entry(folder: Path) -> Entry:
    """What ``entry.json`` of a folder in a library says; raises AdapterError where it is missing or wrong."""
    path = folder / ENTRY_FILE
    return parse_entry(read_json(path, AdapterError, "add the adapter again", _LONGEST), str(path))


def entry_line(entry: Entry) -> str:
    """The entry as one line of JSON."""
    return json.dumps(entry.to_record(), ensure_ascii=False, allow_nan=False) + "\n"


def parse_line(line: str, where: str) -> Entry:
    """What ``entry_line`` wrote; raises AdapterError for anything else."""
    return parse_entry(parse_json(line, where, AdapterError, "it is made again", _LONGEST), where)


def _digest_factors(adapter: Adapter) -> str:
    """The same for every file and configuration that holds these numbers."""
    digest = hashlib.sha256()
    for module, item in sorted(adapter.factors.items()):
        digest.update(json.dumps([module, item.scaling, item.a.shape, item.b.shape]).encode())
        digest.update(item.a.astype("<f4").tobytes())
        digest.update(item.b.astype("<f4").tobytes())
    for name, value in sorted(adapter.head.items()):
        digest.update(json.dumps([name, value.shape]).encode() + value.astype("<f4").tobytes())
    return digest.hexdigest()


def _scores_of(receipt: Receipt) -> dict[str, float]:
    found = {"eval_loss": receipt.training.get("eval_loss")}
    calibration = receipt.training.get("calibration")
    if isinstance(calibration, dict):
        found |= calibration
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "rows"
    }
