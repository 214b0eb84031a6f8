"""Fetches the data packages that ``datasets.txt`` pins and reads single files out of them.

Knows nothing about what is in the files: the scripts that prepare a data set parse them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgelora_runtime.files import write_atomically

HERE = Path(__file__).parent
CACHE = HERE / ".data"
_PINS = HERE / "datasets.txt"
SOURCES = ("usaddress", "simple-icd-10-cm", "probablepeople")  # their wheels lack the training files


class DatasetError(Exception):
    """A data package could not be fetched or lacks the expected file; the message says what to do."""


def fetch(package: str, version: str, member: str) -> bytes:
    """The content of ``member`` (path inside the archive) of a pinned package, downloaded once."""
    stem = f"{package.replace('-', '_')}-{version}"
    archive = CACHE / (f"{stem}.tar.gz" if package in SOURCES else f"{stem}-py3-none-any.whl")
    if not archive.is_file():
        _download(package)
    if not archive.is_file():
        raise DatasetError(f"pip left no {archive.name} in {CACHE}; check the pins in {_PINS.name}")
    return read_member(archive, member)


def read_member(archive: Path, member: str) -> bytes:
    """One file of an archive, read in memory: nothing is unpacked, so no path in the archive can escape."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as tar:
            stream = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{member}")
            if stream is None:
                raise DatasetError(f"{archive.name}: {member} is no regular file; delete {archive} and run again")
            return stream.read()
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise DatasetError(f"{archive.name}: cannot read {member} ({error}); delete {archive} and run again") from error


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line, complete or not at all; returns the number of rows."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(lines))
    return len(lines)


def _download(package: str) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    pins = _PINS.read_text(encoding="utf-8").splitlines()
    pin = CACHE / f"{package}.txt"  # a hash can be given in a file alone
    write_atomically(pin, "".join(f"{line}\n" for line in pins if line.startswith(f"{package}==")))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary" if package in SOURCES else "--only-binary", package]
    command += ["--dest", str(CACHE), "--requirement", str(pin)]
    print("$", "python", *command[1:], file=sys.stderr)
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise DatasetError(f"pip could not download {package}; see its message above and try again")
