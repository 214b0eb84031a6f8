"""Puts the A or the B of an adapter into a file that other adapters of the artifact share, and makes it whole again.

PEFT folder -> the same folder, and a file beside it

The name of the file is its SHA-256: an adapter with the same factors makes the same file, and finds it there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgelora.errors import AdapterError, ArtifactError, ConfigError
from edgelora_runtime.adapter import WEIGHTS_FILE
from edgelora_runtime.manifest import ADAPTER_FOLDER, AdapterInfo, Manifest, file_info
from edgelora_runtime.names import shared_file
from edgelora_runtime.receipt import RECEIPT_FILE, read_receipt, write_receipt
from edgelora_runtime.safetensors import Stored, hash_stored, map_stored, write_stored
from edgelora_runtime.shared_factors import as_reference, map_whole

SIDES = ("a", "b")
LEAST_BYTES = 1024  # of a tensor: a reference and two entries in headers take a quarter of it


def check_share(share: str | None) -> None:
    """Raise ConfigError for anything but a side of the factors, or None for whole folders."""
    if share not in (None, *SIDES):
        raise ConfigError(f"--share is {share!r}; choose {' or '.join(SIDES)}")


def share_factors(folder: Path, side: str, place: Path, least_bytes: int = LEAST_BYTES) -> str | None:
    """Move the factors of one side, each once however many modules have it, into a file in ``place``.

    Gives the SHA-256 of the file, None where no factor has ``least_bytes``. The receipt in ``folder`` is then that of
    the new weights. Raises AdapterError where the file is there already and damaged.
    """
    tensors = map_stored(folder / WEIGHTS_FILE)
    keys = {name: _key(item) for name, item in tensors.items() if _is_of(name, side) and len(item.data) >= least_bytes}
    if not keys:
        return None
    shared = {key: tensors[name] for name, key in keys.items()}
    sha256 = hash_stored(shared)
    path = place / shared_file(sha256)
    if not path.exists():
        write_stored(path, shared)
    elif not path.is_file() or file_info(path).sha256 != sha256:
        raise AdapterError(f"{path} is damaged, and adapters share it; copy or export the artifact again")
    _rewrite(folder, {**tensors, **{name: as_reference(sha256, key) for name, key in keys.items()}})
    return sha256


def shared_bytes(manifest: Manifest, info: AdapterInfo) -> int:
    """Size of the file that an adapter of an artifact shares with others; 0 where there is none."""
    return 0 if info.shared is None else manifest.files[f"{ADAPTER_FOLDER}{shared_file(info.shared)}"].bytes


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """``folder`` itself where it holds all of its factors, else a whole copy, for as long as the block runs.

    Raises AdapterError where what it shares is missing or another.
    """
    tensors = _whole(folder)
    if tensors is None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="edgelora-") as place:
        copy = Path(place) / folder.absolute().name
        copy.mkdir()
        for item in folder.iterdir():
            if item.is_file() and item.name != WEIGHTS_FILE and not item.name.startswith("."):
                shutil.copyfile(item, copy / item.name)
        _rewrite(copy, tensors)
        yield copy


def _whole(folder: Path) -> dict[str, Stored] | None:
    """None too where the folder cannot be read, which is then the matter of whoever reads it."""
    try:
        return map_whole(folder / WEIGHTS_FILE)
    except ArtifactError:
        return None


def _rewrite(folder: Path, tensors: dict[str, Stored]) -> None:
    """Other weights that mean the same, and a receipt of these."""
    write_stored(folder / WEIGHTS_FILE, tensors)
    receipt = read_receipt(folder) if (folder / RECEIPT_FILE).is_file() else None
    if receipt is not None and receipt.weights is not None:
        write_receipt(folder, dataclasses.replace(receipt, weights=file_info(folder / WEIGHTS_FILE).sha256))


def _is_of(name: str, side: str) -> bool:
    return f".lora_{side.upper()}." in name


def _key(tensor: Stored) -> str:
    """The same for tensors that are the same in type, shape and every bit."""
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}\n".encode())
    digest.update(tensor.data)
    return digest.hexdigest()
