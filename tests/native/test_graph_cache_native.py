"""Graphs that the native runtime keeps on the device: mapped, made anew when damaged, refused where it cannot write."""

import json
from pathlib import Path

import pytest

from tests.conformance_check import FOLDER
from tests.native.interface import INVALID_INPUT, Library, NativeError

ARTIFACT = FOLDER / "tiny-int8"
IDS = [7, 8, 9, 200, 31, 4]


def answers(library: Library, cache: Path, **options: int) -> list[list[int]]:
    model = library.load(ARTIFACT, cache=cache, operators="", threads=1, **options)
    return [model.generate_ids([IDS], adapter=spec, max_new_tokens=8)[0].token_ids for spec in ("none", "four")]


def entries(cache: Path) -> dict[str, int]:
    """When the graph of each entry was written."""
    return {entry.name: (entry / "graph.onnx").stat().st_mtime_ns for entry in cache.iterdir()}


def test_a_kept_graph_answers_the_same_and_is_not_written_again(library: Library, tmp_path: Path) -> None:
    expected = [
        library.load(ARTIFACT, operators="").generate_ids([IDS], adapter=spec, max_new_tokens=8)[0].token_ids
        for spec in ("none", "four")
    ]
    cache = tmp_path / "deep" / "cache"
    assert answers(library, cache) == expected
    made = entries(cache)
    assert len(made) == 1
    assert answers(library, cache, hashes=1) == expected
    assert entries(cache) == made


@pytest.mark.parametrize("damage", ["cut", "changed", "no index", "no json"])
def test_what_is_damaged_is_made_anew(library: Library, tmp_path: Path, damage: str) -> None:
    expected = answers(library, tmp_path)
    made = entries(tmp_path)
    (entry,) = tmp_path.iterdir()
    graph, index = entry / "graph.onnx", entry / "cache.json"
    content = graph.read_bytes()
    if damage == "cut":
        graph.write_bytes(content[:-7])
    elif damage == "changed":
        graph.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage == "no index":
        index.unlink()
    else:
        index.write_text("{")
    assert answers(library, tmp_path) == expected
    found = entries(tmp_path)
    assert found.keys() == made.keys()
    assert found != made
    assert graph.read_bytes() == content


def test_an_entry_of_the_same_graph_under_another_name_is_removed(library: Library, tmp_path: Path) -> None:
    answers(library, tmp_path)
    (entry,) = tmp_path.iterdir()
    entry.rename(tmp_path / "older")
    other = tmp_path / "other"
    other.mkdir()
    (other / "cache.json").write_text(json.dumps({"source": "another graph", "files": {}}))
    answers(library, tmp_path)
    assert {item.name for item in tmp_path.iterdir()} == {entry.name, "other"}


def test_a_folder_that_cannot_be_written_is_refused(library: Library, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NativeError, match=r"the cache cannot be written \(.*give cache a folder of your own") as found:
        answers(library, tmp_path / "file")
    assert found.value.code == INVALID_INPUT
