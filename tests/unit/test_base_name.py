"""A base of another name is a warning where nothing but names tells, and nothing where they agree."""

import json
import shutil
from pathlib import Path

import pytest

from edgelora.adapter.convert import convert
from edgelora.api import add_adapter
from edgelora.artifact.convert_adapters import plain_adapters
from edgelora.artifact.options import ExportOptions
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import CheckpointError, ConfigError
from edgelora.progress import Silent
from edgelora_runtime.base_name import find_other_name, short_name
from tests.test_refuse import FILE, FOLDER
from tests.tiny import write_adapter


class Told(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def name_base(folder: Path, name: str) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": name}))
    return folder


@pytest.mark.parametrize("name", FILE["base_names"])
def test_names_of_one_base(name: str) -> None:
    assert (find_other_name(name, ("base", None), "here is") is not None) is FILE["base_names"][name]


def test_a_folder_of_a_hubs_cache_has_no_name() -> None:
    commit = "0a" * 20
    assert short_name(f"/models/{commit}") is None
    assert find_other_name("other", (commit,), "here is") is None
    assert find_other_name(None, ("base",), "here is") is None
    assert find_other_name("other", (commit, "org/Base"), "here is") == (
        f"adapter_config.json names the base 'other', here is '{commit}'; without a receipt nobody knows whether they "
        "are the same, and `edgelora adapter receipt` writes one"
    )


def test_adding_tells_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    artifact = Path(shutil.copytree(FOLDER / "tiny-int4", tmp_path / "artifact"))
    folder = name_base(Path(shutil.copytree(artifact / "adapters/four", tmp_path / "a")), "org/other")
    with caplog.at_level("WARNING"):
        add_adapter(artifact, "again", folder, store="int8")
    assert [line.partition("; ")[0] for line in caplog.messages] == [
        f"{folder}: adapter_config.json names the base 'org/other', this artifact holds 'base'"
    ]


def test_a_merge_tells_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(tiny_checkpoint))
    progress = Told()
    for name in (checkpoint.name, "elsewhere"):
        folder = name_base(write_adapter(tmp_path / name), f"/models/{name}")
        with plain_adapters(ExportOptions(merge=folder), checkpoint, progress):
            pass
    assert len(progress.lines) == 1
    assert progress.lines[0].startswith(
        "--merge: adapter_config.json names the base '/models/elsewhere', this export is of "
    )


def test_a_dead_name_is_told_as_the_adapters(tmp_path: Path) -> None:
    folder = name_base(write_adapter(tmp_path / "a"), "/gone/base")
    with pytest.raises(ConfigError, match=r"a names its base '/gone/base', which cannot be opened; give --base MODEL"):
        convert(folder, tmp_path / "a.gguf")
    assert not (tmp_path / "a.gguf").exists()
    with pytest.raises(CheckpointError, match=r"the base model that it was trained on, which it calls '/gone/base'"):
        open_checkpoint(str(folder))
