"""A model together with the session and the adapters that it was made of, for tests of what those two keep.

Knows nothing about any artifact in particular; what a caller of ``load`` can see is tested with ``load``.
"""

from dataclasses import dataclass
from pathlib import Path

from edgelora_runtime import Model
from edgelora_runtime.adapter_set import AdapterSet
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.session import Session


@dataclass(frozen=True)
class Opened:
    """One artifact in memory, by its parts."""

    model: Model
    session: Session
    adapters: AdapterSet


def open_parts(
    folder: Path, threads: int | None = None, adapter_bytes: int | None = None, library: Path | None = None
) -> Opened:
    """What ``load`` makes of a folder without a cache, with the parts that the model keeps to itself."""
    manifest = read_manifest(folder)
    session = Session(folder, manifest, threads, library=library)
    adapters = AdapterSet(folder, manifest, session.packer, None, adapter_bytes)
    return Opened(Model(folder, manifest, session, adapters), session, adapters)
