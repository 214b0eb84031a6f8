"""The native runtime's reading of the files of artifacts against Python's, message for message."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgelora_runtime.check_files import check_files
from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.manifest import read_manifest
from tests.native.asking import Readers
from tests.native.test_adapter_folders import ARTIFACTS, CONFIG, RECEIPT, TINY, WEIGHTS, Change, both


def both_artifacts(readers: Readers, folder: Path) -> dict[str, Any]:
    found = readers.ask("artifact", folder=folder)
    try:
        manifest = read_manifest(folder)
        check_files(folder, manifest)
        expected: dict[str, Any] = {"value": len(manifest.files)}
    except ArtifactError as error:
        expected = {"code": 2, "message": str(error)}
    assert found == expected
    return found


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "inside"))


@pytest.mark.parametrize("name", [CONFIG, RECEIPT, "manifest.json"])
def test_a_huge_file_is_read_no_further_than_its_limit(readers: Readers, artifact: Path, name: str) -> None:
    folder = artifact / "adapters/one"
    with (artifact / name if name == "manifest.json" else folder / name).open("wb") as stream:
        stream.truncate(1 << 36)  # a hole; reading it whole would end the process
    found = both_artifacts(readers, artifact) if name == "manifest.json" else both(readers, folder)
    assert "(longer than " in found["message"]


@pytest.mark.parametrize("path", ARTIFACTS, ids=lambda path: path.name)
def test_every_artifact_is_whole(readers: Readers, path: Path) -> None:
    assert "value" in both_artifacts(readers, path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGED: dict[str, Change] = {
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "no folder": shutil.rmtree,
    "a file": lambda folder: (shutil.rmtree(folder), folder.write_text("x")),
    "no file": lambda folder: (folder / "tokenizer.json").unlink(),
    "a shorter file": lambda folder: os.truncate(folder / "weights.bin", 100),
    "other bytes": lambda folder: flip(folder / "weights.bin"),
    "everything": lambda folder: [flip(path) for path in folder.rglob("*.onnx")],
    "a file of an adapter": lambda folder: flip(folder / "adapters/one" / WEIGHTS),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_artifact_is_refused(readers: Readers, artifact: Path, name: str) -> None:
    DAMAGED[name](artifact)
    assert "message" in both_artifacts(readers, artifact)


@pytest.mark.parametrize("name", ["weights.bin", "tokenizer.json", "adapters/one", "adapters", "manifest.json"])
def test_a_link_that_leaves_the_artifact_is_refused(
    readers: Readers, artifact: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    (artifact / name).rename(outside)
    (artifact / name).symlink_to(outside)
    assert "is a link that leaves the artifact" in both_artifacts(readers, artifact)["message"]


def test_a_link_that_stays_inside_is_followed_and_a_loop_refused(
    readers: Readers, artifact: Path, tmp_path: Path
) -> None:
    (artifact / "tokenizer.json").rename(artifact / "kept")
    (artifact / "tokenizer.json").symlink_to("kept")
    assert "value" in both_artifacts(readers, artifact)
    (tmp_path / "way").symlink_to(artifact)
    assert "value" in both_artifacts(readers, tmp_path / "way")  # the folder itself may be reached by a link
    (artifact / "tokenizer.json").unlink()
    (artifact / "tokenizer.json").symlink_to("tokenizer.json")
    found = readers.ask("artifact", folder=artifact)
    assert "'tokenizer.json' cannot be followed (" in found["message"]
    (artifact / "tokenizer.json").unlink()
    (artifact / "tokenizer.json").symlink_to(tmp_path / "nothing")
    assert "message" in readers.ask("artifact", folder=artifact)


def test_the_links_of_a_hubs_cache_are_followed(readers: Readers, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b/snapshots/0a1b", tmp_path / "models--a--b/blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in TINY.rglob("*") if path.is_file())):
        shutil.copy(path, blobs / str(number))
        link = snapshot / path.relative_to(TINY)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    assert "value" in both_artifacts(readers, snapshot)
    (tmp_path / "precious").write_text("years of work")
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").symlink_to(tmp_path / "precious")
    assert "is a link that leaves the artifact" in both_artifacts(readers, snapshot)["message"]


def test_a_folder_blobs_of_no_cache_is_outside(readers: Readers, tmp_path: Path) -> None:
    artifact = Path(shutil.copytree(TINY, tmp_path / "kept/inside"))
    (tmp_path / "blobs").mkdir()
    (artifact / "tokenizer.json").rename(tmp_path / "blobs/1")
    (artifact / "tokenizer.json").symlink_to(tmp_path / "blobs/1")
    assert "is a link that leaves the artifact" in both_artifacts(readers, artifact)["message"]
