"""Keeps packed adapters on the device, so that later loads map them instead of reading, checking and packing them
again.

PEFT folder -> Packed

One file for each adapter. Opt-in like ``graph_cache.py``, because a file takes up to one and a half times the bytes of
its adapter.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelora_runtime.adapter import WEIGHTS_FILE
from edgelora_runtime.adapter_config import CONFIG_FILE
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.packers import Packer
from edgelora_runtime.packing import Packed
from edgelora_runtime.receipt import RECEIPT_FILE

_LAYOUT = 1  # of a file; raised when what a packer writes changes
_SUFFIX = ".packed"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackedCache:
    """Packed adapters for one artifact, which passed its check; ``artifact`` is what ``name_artifact`` says."""

    folder: Path
    artifact: str
    packer: Packer

    def find(self, adapter: Path, trust: bool = False) -> Path:
        """The file, there already or not, for a PEFT folder as its files are now, its receipt read or trusted.

        Named by the artifact, by where the adapter is, and by what its files look like from outside: size, inode, and
        both times, of which no program can set the second back. Ask before reading the adapter: files that are replaced
        meanwhile then have another name the next time.
        """
        place = _digest([_LAYOUT, self.packer.form, self.artifact, str(adapter.resolve())])
        found: list[object] = [trust]
        for name in (WEIGHTS_FILE, CONFIG_FILE, RECEIPT_FILE):
            with contextlib.suppress(OSError):  # missing: reading the adapter says so
                status = (adapter / name).stat()
                found.append([name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino])
        return self.folder / f"{place}-{_digest(found)}{_SUFFIX}"

    def read(self, path: Path) -> Packed | None:
        """What was kept in a file of ``find``, mapped; None when nothing was."""
        try:
            with path.open("rb") as stream:
                data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # missing, or empty
            return None
        packed = self.packer.from_buffer(data)
        if packed is None:
            _log.warning("%s is damaged, and the adapter is packed again", path)
        return packed

    def write(self, path: Path, packed: Packed) -> None:
        """Keep ``packed`` for the next load, in place of what was kept of that folder; a full disk is a warning."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda stream: stream.writelines(self.packer.to_buffers(packed)))
            for other in self.folder.glob(f"{path.name.split('-')[0]}-*{_SUFFIX}"):
                if other != path:
                    other.unlink(missing_ok=True)  # a process that has it mapped keeps its bytes until it ends
        except OSError as error:
            _log.warning("an adapter is not kept packed in %s (%s)", path, error)


def name_artifact(manifest: Manifest) -> str:
    """A digest of all that decides whether an adapter belongs to an artifact, and how it is packed."""
    text = manifest.tokenizer
    head = None if manifest.encoder is None else manifest.encoder.head_file
    files = [manifest.graph.file, head, *((text.file, text.chat_template) if text is not None else ())]
    hashes = [manifest.files[name].sha256 for name in files if name is not None]
    return _digest([*hashes, manifest.base.fingerprint, manifest.base.grid])


def _digest(value: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:24]
