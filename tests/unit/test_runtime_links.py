"""Links inside an artifact: those that leave it are refused, those of a hub's cache are followed."""

import os
import shutil
from pathlib import Path

import pytest

from edgelora_runtime import ArtifactError, load

ARTIFACT = Path(__file__).resolve().parents[2] / "runtime/conformance/tiny-float"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ARTIFACT, tmp_path / "inside"))


@pytest.mark.parametrize("name", ["weights.bin", "tokenizer.json", "decoder.onnx", "adapters/one", "manifest.json"])
def test_a_link_that_leaves_the_artifact_is_refused(copied: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (copied / name).rename(outside)
    (copied / name).symlink_to(outside)
    with pytest.raises(ArtifactError, match="is a link that leaves the artifact"):
        load(copied).set_adapter("one")


def test_a_link_that_stays_inside_is_followed_and_a_loop_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "tokenizer.json").rename(copied / "kept")
    (copied / "tokenizer.json").symlink_to("kept")
    assert load(copied).tokenizer is not None
    (tmp_path / "way").symlink_to(copied)
    assert load(tmp_path / "way").tokenizer is not None  # the folder itself may be reached by a link
    (copied / "tokenizer.json").unlink()
    (copied / "tokenizer.json").symlink_to("tokenizer.json")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        load(copied)


def test_the_links_of_a_hubs_cache_are_followed(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b/snapshots/0a1b", tmp_path / "models--a--b/blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in ARTIFACT.rglob("*") if path.is_file())):
        shutil.copy(path, blobs / str(number))
        link = snapshot / path.relative_to(ARTIFACT)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    model = load(snapshot)
    assert model.generate_ids([7, 8], adapter="one", max_new_tokens=2)
    (tmp_path / "precious").write_text("years of work")
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").symlink_to(tmp_path / "precious")
    with pytest.raises(ArtifactError, match="is a link that leaves the artifact"):
        load(snapshot)
