"""A graph whose inputs and outputs are not those that the manifest says is refused when it is loaded."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgelora_runtime import ArtifactError, EdgeLoraError, load
from edgelora_runtime.manifest import file_info
from tests.fuzz.mutate import damage

ARTIFACT = Path(__file__).resolve().parents[2] / "runtime/conformance/tiny-float"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ARTIFACT, tmp_path / "copy"))


def change(folder: Path, edit: Callable[[Any], object]) -> None:
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def wider(data: Any) -> None:
    slot = data["slots"][0]
    slot["out_features"] += 8
    slot["parts"][-1]["out_features"] += 8


def swapped(data: Any) -> None:
    slot = data["slots"][0]
    slot["a"], slot["b"] = slot["b"], slot["a"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data["model"].update(vocab_size=400),
        lambda data: data["model"].update(vocab_size=383),
        lambda data: data["model"].update(num_kv_heads=7),
        lambda data: data["model"].update(head_dim=64),
        lambda data: data["model"].update(num_layers=3),
        lambda data: data["model"].update(num_layers=1),
        lambda data: data["graph"].update(kv_cache="int8"),
        lambda data: data["slots"][0].update(in_features=7),
        lambda data: data["graph"].update(file="decoder.plain.onnx"),
        wider,
        swapped,
    ],
)
def test_another_size_or_type_is_named(copied: Path, edit: Callable[[Any], object]) -> None:
    change(copied, edit)
    with pytest.raises(ArtifactError, match=r"and the manifest disagree: inputs .*; export it again") as caught:
        load(copied, threads=1)
    assert len(str(caught.value)) < 500


def test_a_damaged_graph_is_one_line_and_nothing_on_standard_output(
    copied: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content, refused = (ARTIFACT / "decoder.onnx").read_bytes(), 0
    for number in range(60):
        (copied / "decoder.onnx").write_bytes(damage(content, (), random.Random(number)))
        info = file_info(copied / "decoder.onnx")
        change(copied, lambda data, info=info: data["files"].update({"decoder.onnx": vars(info)}))
        try:
            load(copied, threads=1).generate_ids([7, 8], max_new_tokens=2)
        except EdgeLoraError as error:
            refused += 1
            assert str(error).isprintable()
            assert len(str(error)) < 600
    assert refused > 30
    assert capfd.readouterr().out == ""
