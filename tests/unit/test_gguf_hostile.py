"""GGUF headers that claim what is not there: refused in one line, without the memory or the time that they ask for."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import CheckpointError


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def listing(kind: int, count: int, items: bytes = b"") -> bytes:
    return pair("a", 9, struct.pack("<IQ", kind, count) + items)


def tensor(name: str, sizes: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def file(
    *pairs: bytes, tensors: bytes = b"", n_tensors: int = 0, n_pairs: int | None = None, version: int = 3
) -> bytes:
    count = len(pairs) if n_pairs is None else n_pairs
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, count) + b"".join(pairs) + tensors + bytes(64)


LLAMA = pair("general.architecture", 8, text("llama"))
HEADERS = {
    "2^60 tensors": file(LLAMA, n_tensors=1 << 60),
    "2^64 - 1 pairs": file(LLAMA, n_pairs=(1 << 64) - 1),
    "a string of 2^60 bytes": file(text("a") + struct.pack("<IQ", 8, 1 << 60)),
    "a key of 2^62 bytes": file(struct.pack("<Q", 1 << 62)),
    "a list of 2^60 bytes": file(listing(0, 1 << 60)),
    "a list of 2^60 strings": file(listing(8, 1 << 60)),
    "a list of 2^60 lists": file(listing(9, 1 << 60, struct.pack("<IQ", 9, 1 << 60) * 50)),
    "20,000 lists in one another": file(listing(9, 1, struct.pack("<IQ", 9, 1) * 20_000)),
    "alignment 0": file(LLAMA, pair("general.alignment", 4, struct.pack("<I", 0))),
    "alignment 2^31": file(LLAMA, pair("general.alignment", 4, struct.pack("<I", 1 << 31)), n_tensors=1),
    "a tensor of 2^64 numbers": file(LLAMA, tensors=tensor("a.weight", (1 << 32, 1 << 32)), n_tensors=1),
    "a tensor of 2^64 numbers that wrap around": file(LLAMA, tensors=tensor("a.weight", (1 << 63, 2)), n_tensors=1),
    "2^31 dimensions": file(LLAMA, tensors=text("a") + struct.pack("<I", 1 << 31), n_tensors=1),
    "an offset of 2^62": file(LLAMA, tensors=tensor("a.weight", (2,), offset=1 << 62), n_tensors=1),
    "an unknown type of tensor": file(LLAMA, tensors=tensor("a.weight", (2,), kind=999), n_tensors=1),
    "an unknown type of value": file(pair("a", 99, b"")),
    "a tensor twice": file(LLAMA, tensors=tensor("a.weight", (2,)) * 2, n_tensors=2),
    "a row that is no multiple of a block": file(LLAMA, tensors=tensor("a.weight", (33, 2), kind=2), n_tensors=1),
    "2^32 layers": file(LLAMA, pair("llama.block_count", 4, struct.pack("<I", (1 << 32) - 1))),
    "version 1": file(LLAMA, version=1),
    "version 99": file(LLAMA, version=99),
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "the magic alone": b"GGUF",
    "nothing": b"",
    "a name with a line break": file(
        LLAMA, pair("llama.block_count", 4, struct.pack("<I", 1)), tensors=tensor("blk.0.\n\x1b", (2,)), n_tensors=1
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_lies_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(HEADERS[name])
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(str(path))
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_no_header_takes_memory(tmp_path: Path) -> None:
    """All of them in a process that may have 1 GiB more than its imports."""
    for number, content in enumerate(HEADERS.values()):
        (tmp_path / f"{number}.gguf").write_bytes(content)
    code = (
        "import resource, sys, pathlib\n"
        "from edgelora.checkpoint.folder import open_checkpoint\n"
        "from edgelora.errors import CheckpointError\n"
        "import edgelora.checkpoint.gguf.reader\n"
        "limit = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize() + (1 << 30)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: open_checkpoint(str(path))\n"
        "    except CheckpointError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout.count("refused") == len(HEADERS), done.stderr[-2000:]
