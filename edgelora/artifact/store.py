"""Adapters coming into and out of a finished artifact, all or nothing.

artifact, PEFT folder -> AdapterInfo

The graph is never touched: only ``adapters/`` and the manifest change.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgelora.adapter.genai import GENAI_ADAPTER_FILE, GENAI_CONFIG_FILE, check_genai, write_genai_adapter
from edgelora.adapter.make_plain import find_loss
from edgelora.adapter.narrow import check_store
from edgelora.artifact.about import NOTHING, About, read_about
from edgelora.artifact.changing import FOLDER, MARK_FILE, changing, finish_adapter
from edgelora.artifact.narrow_adapter import narrow_adapter
from edgelora.artifact.sharing import check_share, share_factors, whole_folder
from edgelora.errors import AdapterError
from edgelora_runtime.adapter import WEIGHTS_FILE, Adapter, check_name
from edgelora_runtime.adapter_config import CONFIG_FILE
from edgelora_runtime.check_files import listed_info
from edgelora_runtime.files import is_temporary, naming, put_folder, temporary_folder, write_atomically
from edgelora_runtime.head import Tensors, count_labels, read_base_head
from edgelora_runtime.head_info import find_head_info
from edgelora_runtime.manifest import (
    FLOAT_STORE,
    MANIFEST_FILE,
    AdapterInfo,
    FileInfo,
    HeadInfo,
    Manifest,
    file_info,
    read_manifest,
)
from edgelora_runtime.manifest_text import manifest_text
from edgelora_runtime.model import load
from edgelora_runtime.names import shared_file
from edgelora_runtime.open_adapter import open_adapter
from edgelora_runtime.packing import pack_adapter
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.receipt import RECEIPT_FILE, Receipt, read_receipt, write_receipt

_COPIED = (WEIGHTS_FILE, CONFIG_FILE, RECEIPT_FILE)
_KEPT = {*_COPIED, GENAI_ADAPTER_FILE, MARK_FILE}  # all that the folder of an adapter may hold


def split_assignment(text: str) -> tuple[str, Path]:
    """``NAME=FOLDER`` taken apart; raises AdapterError for any other form or a name that cannot be used."""
    name, separator, folder = text.partition("=")
    if not separator or not name or not folder:
        raise AdapterError(f"found {text!r}, expected NAME=ADAPTER_DIR")
    check_name(name)
    return name, Path(folder)


def check_adapter(
    folder: Path, manifest: Manifest, base_head: Tensors = MappingProxyType({}), *, quiet: bool = False
) -> Adapter:
    """Read an adapter and hold it to an artifact; raises one AdapterError with everything that does not fit.

    ``base_head`` is what the artifact has of a head itself. What is noted is a warning unless it is ``quiet``.
    """
    return open_adapter(folder, manifest, str(folder), base_head=base_head, quiet=quiet)


def add_adapter(
    artifact: Path,
    name: str,
    folder: Path,
    probe: bool = True,
    store: str = FLOAT_STORE,
    labels: Sequence[str] | None = None,
    about: About = NOTHING,
    share: str | None = None,
) -> AdapterInfo:
    """Copy a PEFT folder into an artifact; raises AdapterError when it does not fit, OSError when writing fails.

    ``probe`` replays a probe of its receipt on the artifact first. ``store`` rounds the factors that go in, to float16
    or int8, and the receipt then tells of those. ``labels`` name the rows of its head where no receipt does. ``about``
    goes before what the folder says of it. A conversion that lost something, as ``conversion.json`` beside it tells, is
    told in the receipt. ``share`` a or b puts that side of its factors into a file of their own, which adapters with
    the same ones have together. Whatever fails, the artifact stays as it was.
    """
    check_name(name)
    check_store(store)
    check_share(share)
    with whole_folder(folder) as whole, changing(artifact) as place:
        manifest = read_manifest(place)
        if name in manifest.adapter_names:
            raise AdapterError(f"{artifact} already has an adapter {name!r}; remove it first or choose another name")
        target = place / FOLDER / name
        if target.is_symlink() or target.exists():
            raise AdapterError(
                f"{artifact / FOLDER / name} is in the way: it is not listed in {MANIFEST_FILE}, so somebody put it "
                "there; move it out of the artifact, or choose another name"
            )
        files = {file: listed_info(whole / file) for file in _COPIED if (whole / file).is_file()}
        base_head = read_base_head(place, manifest)
        adapter = check_adapter(whole, manifest, base_head)
        if GENAI_CONFIG_FILE in manifest.files:
            check_genai(whole, adapter)
        head = _head_info(whole, manifest, {**base_head, **adapter.head}, labels)
        said = dataclasses.asdict(about.before(read_about(whole)))
        info = AdapterInfo(name, f"{FOLDER}/{name}", adapter.rank, store, head, **said)
        beside: dict[str, FileInfo] = {}
        with naming(artifact / FOLDER / name):
            target.parent.mkdir(exist_ok=True)
            with temporary_folder(target.parent) as fresh:
                _copy(whole, fresh, files)
                if probe:
                    _replay(place, name, fresh)
                if (loss := find_loss(folder)) is not None:
                    _record_loss(fresh, manifest, loss)
                    files[RECEIPT_FILE] = listed_info(fresh / RECEIPT_FILE)
                if store != FLOAT_STORE:
                    narrow_adapter(place, fresh, store)
                    files = {file: listed_info(fresh / file) for file in files}
                    adapter = check_adapter(fresh, manifest, base_head, quiet=True)  # what it noted was told
                if GENAI_CONFIG_FILE in manifest.files:
                    write_genai_adapter(fresh / GENAI_ADAPTER_FILE, pack_adapter(adapter, manifest.slots))
                    files[GENAI_ADAPTER_FILE] = listed_info(fresh / GENAI_ADAPTER_FILE)
                if share is not None:
                    info, beside = _share(fresh, share, info)
                    files |= {file: listed_info(fresh / file) for file in _COPIED if file in files}
                (fresh / MARK_FILE).touch()
                put_folder(fresh, target)
        data = _read(place)
        data["adapters"] = [*data["adapters"], info.to_record()]
        listed = {f"{info.path}/{file}": found for file, found in files.items()} | beside
        data["files"] |= {file: found.to_record() for file, found in listed.items()}
        _write(place, data)  # the moment from which it is there
        finish_adapter(place, name, is_listed=True)
    return info


def remove_adapter(artifact: Path, name: str) -> AdapterInfo:
    """Take an adapter out of an artifact; raises AdapterError for an unknown name.

    What is deleted is ``adapters/NAME`` alone, and a file that no other adapter shares with it, never anything that a
    manifest or a link names, and nothing at all where somebody has put a file of his own there.
    """
    with changing(artifact) as place:
        manifest = read_manifest(place)
        if name not in manifest.adapter_names:
            known = join_some(manifest.adapter_names, ", ") or "none"
            raise AdapterError(f"{artifact} has no adapter {name!r}; it has: {known}")
        found = manifest.adapters[manifest.adapter_names.index(name)]
        path, target = f"{FOLDER}/{name}", place / FOLDER / name
        if found.path != path:
            raise AdapterError(f"{artifact}: adapter {name!r} lies at {found.path!r}, expected {path}; export it again")
        _check_folder(artifact / FOLDER / name, manifest)
        if target.exists():
            with naming(artifact / FOLDER / name):
                (target / MARK_FILE).touch()
        data = _read(place)
        data["adapters"] = [item for item in data["adapters"] if item["name"] != name]
        data["files"] = {file: info for file, info in data["files"].items() if not file.startswith(f"{path}/")}
        unshared = None
        if found.shared is not None and found.shared not in [item.get("shared") for item in data["adapters"]]:
            unshared = shared_file(found.shared)
            (place / FOLDER / MARK_FILE).touch()
            data["files"].pop(f"{FOLDER}/{unshared}")
        _write(place, data)  # the moment from which it is gone; what is marked and not listed is deleted
        finish_adapter(place, name, is_listed=False, unshared=unshared)
    return found


def _share(fresh: Path, side: str, info: AdapterInfo) -> tuple[AdapterInfo, dict[str, FileInfo]]:
    """The entry of an adapter in ``fresh``, whose factors of one side are shared from now on, and the shared file."""
    place = fresh.parent
    (place / MARK_FILE).touch()  # what is made here and never listed goes
    sha256 = share_factors(fresh, side, place)
    if sha256 is None:
        return info, {}
    path = place / shared_file(sha256)
    return dataclasses.replace(info, shared=sha256), {f"{FOLDER}/{path.name}": listed_info(path)}


def _check_folder(folder: Path, manifest: Manifest) -> None:
    """Raise AdapterError unless ``folder`` can be deleted, or is not there."""
    advice = "move it away and remove the adapter then"
    if folder.is_symlink():
        raise AdapterError(f"{folder} is a link, and nothing is deleted through a link; {advice}")
    if folder.exists() and not folder.is_dir():
        raise AdapterError(f"{folder} is a file, expected the folder of an adapter; {advice}")
    listed = {file.rpartition("/")[2] for file in manifest.files_of(folder.name) if file.count("/") == 2}
    held = sorted(item.name for item in folder.iterdir()) if folder.exists() else []
    foreign = [
        name for name in held if not is_temporary(name) and (name not in _KEPT | listed or (folder / name).is_dir())
    ]
    if foreign:
        raise AdapterError(f"{folder} holds what is not of the adapter ({', '.join(foreign[:3])}); {advice}")


def _head_info(folder: Path, manifest: Manifest, tensors: Tensors, labels: Sequence[str] | None) -> HeadInfo | None:
    """What the rows of an adapter's head mean, None where the model has no head."""
    if manifest.encoder is None or not manifest.encoder.head:
        if labels is not None:
            raise AdapterError(
                f"{folder}: there are labels for it, but {manifest.model.name} has no head; leave them out"
            )
        return None
    return find_head_info(folder, count_labels(manifest.encoder.head, tensors), str(folder), labels=labels)


def _replay(artifact: Path, name: str, target: Path) -> None:
    """Replay a probe on the graph that the adapter goes into; without probes there is nothing to load."""
    receipt = read_receipt(target)
    if receipt is not None and (receipt.probes or receipt.answers):
        model = load(artifact)
        model.load_adapter(name, target)
        model.probe(name)


def _record_loss(fresh: Path, manifest: Manifest, loss: Mapping[str, Any]) -> None:
    """Write into the receipt what a conversion cost; where there is none, one of the base that it is added to."""
    begun = Receipt(manifest.model.name, manifest.base.fingerprint, weights=file_info(fresh / WEIGHTS_FILE).sha256)
    write_receipt(fresh, dataclasses.replace(read_receipt(fresh) or begun, conversion=loss))


def _copy(folder: Path, fresh: Path, files: Mapping[str, FileInfo]) -> None:
    """Copy the files of a PEFT folder that an artifact keeps; raises AdapterError when they are no longer ``files``."""
    for name, info in files.items():
        with (folder / name).open("rb") as source, (fresh / name).open("wb") as copy:
            shutil.copyfileobj(source, copy)
        if listed_info(fresh / name) != info:
            raise AdapterError(f"{folder / name} was changed while it was being added; try again when it is finished")


def _read(artifact: Path) -> dict[str, Any]:
    """The manifest as plain JSON, so that fields of a later version survive the rewriting."""
    data: dict[str, Any] = json.loads((artifact / MANIFEST_FILE).read_text(encoding="utf-8"))
    return data


def _write(artifact: Path, data: Mapping[str, Any]) -> None:
    write_atomically(artifact / MANIFEST_FILE, manifest_text(data))
