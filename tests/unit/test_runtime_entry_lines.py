"""A manifest whose entries stand in lines of their own: opened without reading them, refused where one is used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgelora_runtime import ArtifactError, load
from edgelora_runtime.entry_lines import find_lines
from edgelora_runtime.manifest import MANIFEST_FILE, Manifest, open_manifest, parse_manifest, read_manifest
from edgelora_runtime.manifest_text import manifest_text
from tests.conformance_check import FOLDER, WRONG
from tests.test_refuse import FILE, content_of

TEXT = (FOLDER / "tiny-float" / MANIFEST_FILE).read_text(encoding="utf-8")
LINES = FILE["lines"]
FACTORS = "adapters/four/adapter_model.safetensors"
SAME = (*(path for path in FOLDER.glob("*/manifest.json") if path.parent.name != WRONG),)


def all_of(manifest: Manifest) -> tuple[Any, ...]:
    return manifest.adapter_names, list(manifest.adapters), dict(manifest.files), manifest.files_by_adapter()


@pytest.mark.parametrize("path", SAME, ids=lambda path: path.parent.name)
def test_what_is_opened_is_what_is_read_whole(path: Path) -> None:
    whole, data = parse_manifest(path.read_bytes()), json.loads(path.read_bytes())
    for text in (manifest_text(data), json.dumps(data), json.dumps(data, indent=1)):
        assert (find_lines(text) is not None) == (text == manifest_text(data) and len(whole.adapters) > 0)
        assert all_of(open_manifest(text)) == all_of(whole)
        assert {name: open_manifest(text).files[name] for name in whole.files} == whole.files
        for name in whole.adapter_names:
            assert sorted(open_manifest(text).files_of(name)) == sorted(whole.files_of(name))
        assert open_manifest(text).files_of_base == whole.files_of_base
        assert open_manifest(text).to_json() == whole.to_json()
    missing = open_manifest(path.read_bytes()).files
    for name in ("", "nothing", "adapters/", "adapters/none/x", 'adapters/four/x"', f'{FACTORS}": {{', "adapters/\n"):
        assert name not in missing
        assert missing.get(name) is None


def test_no_entry_is_read_before_somebody_asks() -> None:
    data = json.loads(TEXT)
    one, name = data["adapters"][0], data["adapters"][0]["name"]
    data["adapters"] = [{**one, "name": f"a{number}", "path": f"adapters/a{number}"} for number in range(3)]
    own = {file: info for file, info in data["files"].items() if file.startswith(f"adapters/{name}/")}
    data["files"] = {file: info for file, info in data["files"].items() if not file.startswith("adapters/")}
    for adapter in data["adapters"]:
        data["files"] |= {file.replace(f"/{name}/", f"/{adapter['name']}/"): info for file, info in own.items()}
    text = manifest_text(data).replace('"rank": 1', '"rank": nothing').replace('"bytes"', "no JSON")
    base = [line for line in manifest_text(data).splitlines() if line.startswith('  "') and "adapters/" not in line]
    for line in base:
        text = text.replace(line.replace('"bytes"', "no JSON"), line)
    manifest = open_manifest(text)
    assert manifest.adapter_names == ("a0", "a1", "a2")
    assert len(manifest.adapters) == 3
    for index in range(3):
        with pytest.raises(ArtifactError, match=rf"m: adapters\[{index}\] is not JSON"):
            _ = open_manifest(text, "m").adapters[index]
    with pytest.raises(ArtifactError, match="m is not JSON"):
        list(open_manifest(text, "m").files)


@pytest.mark.parametrize("case", LINES, ids=lambda case: str(case["name"]))
def test_a_wrong_line_of_an_adapter_is_refused_when_it_is_asked_for(case: dict[str, Any], tmp_path: Path) -> None:
    assert TEXT.count(case["old"]) == 1
    text = TEXT.replace(case["old"], case["new"])
    if case.get("accepted"):
        assert all_of(open_manifest(text)) == all_of(parse_manifest(text))
        return
    folder = Path(shutil.copytree(FOLDER / "tiny-float", tmp_path / "artifact"))
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    assert find_lines(text) is not None
    with pytest.raises(ArtifactError):
        parse_manifest(text)
    with load(folder) as model:
        assert model.adapters == ("one", "four", "eight")
        assert len(model.generate_ids([1, 2], adapter="one+eight", max_new_tokens=2)) == 2
        with pytest.raises(ArtifactError) as caught:
            model.generate_ids([1, 2], adapter="four")
        assert case["message_has"] in str(caught.value)
        assert str(caught.value).startswith(f"{folder / MANIFEST_FILE}: ")
        assert str(caught.value).isprintable()
        assert len(model.generate_ids([1, 2], max_new_tokens=2)) == 2
    with pytest.raises(ArtifactError):
        load(folder, hashes=True)
    with pytest.raises(ArtifactError):
        load(folder, probe=True)


def with_adapters_last(text: str) -> str:
    start, end = text.index(' "adapters"'), text.index(' "base"')
    rest = text[:start] + text[end:].rstrip("}\n")
    return f"{rest}}},\n{text[start:end].rstrip().rstrip(',')}\n}}\n"


OTHERWISE: dict[str, Callable[[str], str]] = {
    "lines that end otherwise": lambda text: text.replace("\n", "\r\n"),
    "no adapters": lambda text: manifest_text({**json.loads(text), "adapters": []}),
    "adapters behind files": with_adapters_last,
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_written_otherwise_is_read_whole(name: str) -> None:
    text = OTHERWISE[name](TEXT)
    assert text != TEXT
    assert find_lines(text) is None
    assert all_of(open_manifest(text)) == all_of(parse_manifest(text))


def test_lines_among_other_fields_are_no_entries() -> None:
    data = json.loads(TEXT)
    hidden = manifest_text({**data, "adapters": data["adapters"][:1]})
    place = hidden.index(' "files": {')
    text = hidden[:place] + ' "later": ' + hidden[place + len(' "files": ') :]
    assert find_lines(text) is not None
    with pytest.raises(ArtifactError, match="field 'files' is missing"):
        open_manifest(text)


@pytest.mark.parametrize(
    "case", [case for case in FILE["cases"] if case["kind"] == "manifest"], ids=lambda case: str(case["name"])
)
def test_every_case_in_lines_is_refused_as_when_it_is_read_whole(case: dict[str, Any]) -> None:
    try:
        data = json.loads(content_of(case))
        text = manifest_text(data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return  # no such lines can be made of it
    if case.get("accepted"):
        assert all_of(open_manifest(text)) == all_of(parse_manifest(text))
        return
    try:
        whole = parse_manifest(text)
    except ArtifactError:
        with pytest.raises(ArtifactError) as caught:
            all_of(open_manifest(text))
        assert case["message_has"] in str(caught.value)
    else:  # what was wrong is not in the value: a key twice, a mark
        assert all_of(open_manifest(text)) == all_of(whole)


def test_a_long_manifest_is_refused_whatever_its_lines_hold() -> None:
    line = next(line for line in TEXT.splitlines() if FACTORS in line)
    many = "\n".join(line.replace("/four/", f"/x{number}/") for number in range(300_000))
    text = TEXT.replace(line, f"{many}\n{line}")
    with pytest.raises(ArtifactError, match="longer than 33554432 bytes"):
        open_manifest(text)


def test_a_folder_is_opened_without_reading_its_entries(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / MANIFEST_FILE).write_text(TEXT, encoding="utf-8")
    manifest = read_manifest(folder)
    held: dict[int, object] = vars(manifest.adapters)["_held"]
    assert held == {}
    assert manifest.adapters[1].name == "four"
    assert list(held) == [1]
