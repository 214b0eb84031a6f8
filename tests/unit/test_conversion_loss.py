"""What a lossy conversion cost is in the receipt of the adapter that is added or measured."""

import json
import shutil
from pathlib import Path

import pytest

from edgelora.adapter.convert import convert
from edgelora.adapter.make_plain import CONVERSION_FILE, find_loss
from edgelora.api import add_adapter
from edgelora.cli import main
from edgelora.errors import AdapterError
from edgelora_runtime import load
from edgelora_runtime.check_files import check_files
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.receipt import read_receipt
from tests.tiny import write_adapter


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """An adapter of rank 4, cut to rank 1."""
    convert(write_adapter(tmp_path / "whole"), tmp_path / "cut", rank=1)
    return tmp_path / "cut"


@pytest.mark.parametrize("store", ["float32", "int8"])
def test_the_receipt_of_what_is_added_has_the_loss(
    shared_artifact: Path, cut: Path, tmp_path: Path, store: str
) -> None:
    artifact = Path(shutil.copytree(shared_artifact, tmp_path / "artifact"))
    record = json.loads((cut / CONVERSION_FILE).read_text())
    add_adapter(artifact, "cut", cut, store=store)
    receipt = read_receipt(artifact / "adapters/cut")
    assert receipt is not None
    assert receipt.conversion == {key: record[key] for key in ("steps", "rank", "relative_error", "errors")}
    assert 0.1 < record["relative_error"] < 1
    assert not (cut / "receipt.json").exists()
    manifest = read_manifest(artifact)
    assert receipt.fingerprint == manifest.base.fingerprint
    check_files(artifact, manifest)
    with load(artifact) as model:  # which holds the factors to the receipt
        model.set_adapter("cut")


def test_what_lost_nothing_needs_no_receipt(shared_artifact: Path, cut: Path, tmp_path: Path) -> None:
    artifact = Path(shutil.copytree(shared_artifact, tmp_path / "artifact"))
    convert(tmp_path / "whole", tmp_path / "exact", rank=4)
    assert find_loss(tmp_path / "exact") is None
    add_adapter(artifact, "exact", tmp_path / "exact")
    assert read_receipt(artifact / "adapters/exact") is None
    shutil.copyfile(cut / CONVERSION_FILE, tmp_path / "whole" / CONVERSION_FILE)
    assert find_loss(tmp_path / "whole") is None  # the record is of other factors
    for text in ("{", "[]", '{"relative_error": true}'):
        (cut / CONVERSION_FILE).write_text(text)
        with pytest.raises(AdapterError, match=r"conversion\.json .*; convert the adapter again"):
            add_adapter(artifact, "cut", cut)


def test_a_measured_receipt_and_its_page_tell_the_loss(tiny_checkpoint: Path, cut: Path) -> None:
    assert main(["adapter", "receipt", str(tiny_checkpoint), str(cut)]) == 0
    receipt = read_receipt(cut)
    assert receipt is not None and receipt.conversion is not None
    assert "## Converted" in (cut / "receipt.md").read_text()
    assert f"- relative_error: {receipt.conversion['relative_error']:.3g}"[:22] in (cut / "receipt.md").read_text()
    (cut / CONVERSION_FILE).unlink()
    assert main(["adapter", "receipt", str(tiny_checkpoint), str(cut)]) == 0
    assert read_receipt(cut) == receipt  # what is known stays
