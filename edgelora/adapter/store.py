"""Adapters coming into and out of a finished artifact, all or nothing.

Knows nothing about the graph and never touches it: only ``adapters/`` and the manifest change.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgelora.adapter.genai import GENAI_ADAPTER_FILE, GENAI_CONFIG_FILE, write_genai_adapter
from edgelora.errors import AdapterError
from edgelora_runtime.adapter import Adapter, check_name, fit_adapter, read_adapter
from edgelora_runtime.manifest import MANIFEST_FILE, AdapterInfo, Manifest, file_info, read_manifest
from edgelora_runtime.model import load
from edgelora_runtime.packing import pack_adapter
from edgelora_runtime.receipt import RECEIPT_FILE, find_mismatch, find_other_factors, read_receipt

FOLDER = "adapters"
LOCK_FILE = ".lock"  # never listed, there only while a command changes the artifact
_COPIED = ("adapter_model.safetensors", "adapter_config.json", RECEIPT_FILE)


def split_assignment(text: str) -> tuple[str, Path]:
    """``NAME=FOLDER`` taken apart; raises AdapterError for any other form or a name that cannot be used."""
    name, separator, folder = text.partition("=")
    if not separator or not name or not folder:
        raise AdapterError(f"found {text!r}, expected NAME=ADAPTER_DIR")
    check_name(name)
    return name, Path(folder)


def check_adapter(folder: Path, manifest: Manifest) -> Adapter:
    """Read an adapter and hold it to an artifact; raises one AdapterError with everything that does not fit."""
    if not manifest.slots:
        raise AdapterError(f"{manifest.model.name} was exported without slots; export it again without --merge")
    adapter = read_adapter(folder)
    receipt = read_receipt(folder)
    foreign = None if receipt is None else find_mismatch(receipt, manifest)
    try:
        fit_adapter(adapter, manifest.slots, str(folder))
    except AdapterError as error:
        raise AdapterError(f"{error}; {foreign}" if foreign else str(error)) from error
    if foreign:
        raise AdapterError(f"{folder}: {foreign}")
    other = None if receipt is None else find_other_factors(receipt, folder, adapter.factors)
    if other:
        raise AdapterError(f"{folder}: {other}")
    return adapter


def add_adapter(artifact: Path, name: str, folder: Path, probe: bool = True) -> AdapterInfo:
    """Copy a PEFT folder into an artifact; raises AdapterError when it does not fit, OSError when writing fails.

    ``probe`` replays a probe of its receipt on the artifact first. Whatever fails, the artifact stays as it was.
    """
    with changing(artifact):
        manifest = read_manifest(artifact)
        check_name(name)
        if any(name == known.name for known in manifest.adapters):
            raise AdapterError(f"{artifact} already has an adapter {name!r}; remove it first or choose another name")
        adapter = check_adapter(folder, manifest)
        info = AdapterInfo(name, f"{FOLDER}/{name}", adapter.rank)
        target = artifact / FOLDER / name
        had_folder = target.parent.exists()
        try:
            copy_adapter(folder, target)
            if probe:
                _replay(artifact, name, target)
            if GENAI_CONFIG_FILE in manifest.files:
                write_genai_adapter(target / GENAI_ADAPTER_FILE, pack_adapter(adapter, manifest.slots))
            data = _read(artifact)
            data["adapters"] = [*data["adapters"], {"name": name, "path": info.path, "rank": info.rank}]
            for file in sorted(target.iterdir()):
                found = file_info(file)
                data["files"][f"{info.path}/{file.name}"] = {"bytes": found.bytes, "sha256": found.sha256}
            _write(artifact, data)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            if not had_folder:
                with contextlib.suppress(OSError):
                    target.parent.rmdir()
            raise
    return info


def remove_adapter(artifact: Path, name: str) -> AdapterInfo:
    """Take an adapter out of an artifact; raises AdapterError for an unknown name."""
    with changing(artifact):
        manifest = read_manifest(artifact)
        found = next((known for known in manifest.adapters if known.name == name), None)
        if found is None:
            known = ", ".join(item.name for item in manifest.adapters) or "none"
            raise AdapterError(f"{artifact} has no adapter {name!r}; it has: {known}")
        target = artifact / found.path
        if target.parent.resolve() != (artifact / FOLDER).resolve():
            raise AdapterError(f"{artifact}: adapter {name!r} lies at {found.path!r}, expected {FOLDER}/{name}")
        data = _read(artifact)
        data["adapters"] = [item for item in data["adapters"] if item["name"] != name]
        data["files"] = {file: info for file, info in data["files"].items() if not file.startswith(f"{found.path}/")}
        # The manifest goes first: an artifact that lists a missing folder would be damaged, a forgotten one is not.
        _write(artifact, data)
        shutil.rmtree(target, ignore_errors=True)
    return found


@contextlib.contextmanager
def changing(artifact: Path) -> Iterator[None]:
    """Hold the artifact's lock file, so that no second command rewrites the manifest meanwhile.

    Raises AdapterError naming the process that holds it; one that has died is told as such and never waited for.
    """
    path = artifact / LOCK_FILE
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError as error:
        raise AdapterError(_describe_lock(path)) from error
    except (FileNotFoundError, NotADirectoryError):
        read_manifest(artifact)  # says what is wrong with the path
        raise
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(str(os.getpid()))
        yield
    finally:
        path.unlink(missing_ok=True)


def _describe_lock(path: Path) -> str:
    stale = f"{path.parent} was left locked by a command that is gone; delete {path} and try again"
    try:
        process = int(path.read_text(encoding="ascii"))
        os.kill(process, 0)
    except (ValueError, ProcessLookupError):
        return stale
    except OSError:  # gone meanwhile, or somebody else's
        return f"{path.parent} is being changed by another command; try again when it is done"
    return f"{path.parent} is being changed by process {process}; try again when it is done"


def _replay(artifact: Path, name: str, target: Path) -> None:
    """Replay a probe on the graph that the adapter goes into; without probes there is nothing to load."""
    receipt = read_receipt(target)
    if receipt is not None and receipt.get("probes"):
        model = load(artifact)
        model.load_adapter(name, target)
        model.probe(name)


def copy_adapter(folder: Path, target: Path) -> None:
    """Copy the files of a PEFT folder that an artifact keeps; ``target`` appears complete or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    with _naming(temporary):
        temporary.mkdir(parents=True)
        try:
            for name in _COPIED:
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, temporary / name)
                    _sync(temporary / name)
            # What lies there without being listed is left over from an interrupted run.
            shutil.rmtree(target, ignore_errors=True)
            temporary.replace(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _read(artifact: Path) -> dict[str, Any]:
    """The manifest as plain JSON, so that fields of a later version survive the rewriting."""
    data: dict[str, Any] = json.loads((artifact / MANIFEST_FILE).read_text(encoding="utf-8"))
    return data


def _write(artifact: Path, data: dict[str, Any]) -> None:
    temporary = artifact / f".{MANIFEST_FILE}.{os.getpid()}"
    with _naming(artifact / MANIFEST_FILE):
        try:
            text = json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
            temporary.write_text(text, encoding="utf-8")
            _sync(temporary)
            temporary.replace(artifact / MANIFEST_FILE)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give a failed write the path that the operating system leaves out, as it does for a full disk."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
