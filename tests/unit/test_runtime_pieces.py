"""Hashes of a file's pieces in the manifest: written where there are several, and those of the bytes."""

import hashlib
import json
from pathlib import Path

import pytest

from edgelora.artifact.store import add_adapter
from edgelora_runtime import check_files as module
from edgelora_runtime.check_files import listed_info
from edgelora_runtime.manifest import FileInfo, file_info, read_manifest

SIZE = 1 << 16


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", SIZE)


@pytest.mark.parametrize("count", [0, 1, SIZE - 1, SIZE])
def test_a_file_of_one_piece_has_the_hash_of_the_whole_alone(tmp_path: Path, count: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(count))
    assert listed_info(path) == file_info(path)
    assert set(listed_info(path).to_record()) == {"bytes", "sha256"}


@pytest.mark.parametrize("last", [1, SIZE])
def test_every_piece_is_hashed_the_last_one_too(tmp_path: Path, last: int) -> None:
    content = bytes(range(256)) * (2 * SIZE // 256) + b"x" * last
    path = tmp_path / "file"
    path.write_bytes(content)
    info = listed_info(path)
    assert FileInfo(info.bytes, info.sha256) == file_info(path)
    assert info.pieces is not None
    assert info.pieces.size == SIZE
    parts = [content[:SIZE], content[SIZE : 2 * SIZE], content[2 * SIZE :]]
    assert info.pieces.sha256 == tuple(hashlib.sha256(part).hexdigest() for part in parts)
    assert info.to_record()["pieces"]["size"] == SIZE


def test_an_adapter_that_is_added_is_listed_with_its_pieces(artifact: Path, tiny_adapters: dict[str, Path]) -> None:
    add_adapter(artifact, "wide", tiny_adapters["wide"])
    manifest = read_manifest(artifact)
    name = "adapters/wide/adapter_model.safetensors"
    assert manifest.files[name] == listed_info(artifact / name)
    assert manifest.files[name].bytes > SIZE
    assert manifest.files[name].pieces is not None
    assert json.loads(manifest.to_json()) == json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
