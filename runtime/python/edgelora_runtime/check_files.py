"""What a manifest says of files on disk, and how those of an artifact differ from it.

a file -> FileInfo; folder, Manifest -> nothing, or ArtifactError
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from edgelora_runtime.check_manifest import LARGEST_FILE
from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.manifest import FileInfo, Manifest, Pieces, file_info
from edgelora_runtime.names import resolve_inside
from edgelora_runtime.parse_json import join_some

PIECE_BYTES = 4 << 20  # what a download that breaks off loses at most, and what a phone holds of a file in memory


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


def check_files(
    folder: Path, manifest: Manifest, names: Iterable[str] | None = None, hash_up_to: int = LARGEST_FILE
) -> None:
    """Compare files with the manifest, all where no ``names`` are given: their sizes, and the hashes of small ones.

    Small is a file of at most ``hash_up_to`` bytes. Raises one ArtifactError that lists all differences. Whoever asks
    for all files asks for the entry of every adapter, too: one that is wrong is refused.
    """
    if names is None:
        _ = list(manifest.adapters)
    wrong: list[str] = []
    for name in manifest.files if names is None else names:
        expected = manifest.files[name]
        path = resolve_inside(folder, name)
        if not path.is_file():
            wrong.append(f"{name}: missing")
        elif path.stat().st_size != expected.bytes:
            wrong.append(f"{name}: {path.stat().st_size} bytes, expected {expected.bytes}")
        elif expected.bytes <= hash_up_to and (found := file_info(path).sha256) != expected.sha256:
            wrong.append(f"{name}: sha256 {found[:12]}…, expected {expected.sha256[:12]}…")
    if wrong:
        raise ArtifactError(f"{folder} is damaged: {join_some(wrong)}; copy or export it again")
