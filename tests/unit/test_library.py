"""A library of adapters: by content, whole after every kill, found again without its index."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora.cli import main
from edgelora.errors import AdapterError, ConfigError
from edgelora.library import change
from edgelora.library import index as index_module
from edgelora.library.compare_two import compare_two
from edgelora.library.index import INDEX_FILE, changing, default_library, find, folder_of, read_index
from edgelora.library.publish import parse_published, publish
from edgelora.library.select import Wanted, order, select
from edgelora_runtime import load
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.safetensors import read_safetensors, write_safetensors

CONFORMANCE = Path(__file__).resolve().parents[2] / "runtime/conformance"
TINY = CONFORMANCE / "tiny-int4"
ADAPTERS = TINY / "adapters"
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    place = tmp_path / "library"
    for name in ("one", "four", "eight"):
        change.add(place, ADAPTERS / name, tags=("tiny",), scores={"acc": len(name) / 10})
    return place


def names(library: Path) -> list[str]:
    return [entry.name for entry in read_index(library)]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any, str]:
    code = main(["library", *map(str, words), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 else None, err


def with_alpha(folder: Path, out: Path, alpha: float) -> Path:
    """The same adapter with a larger alpha and smaller B: other files, the same deltas at another scaling."""
    shutil.copytree(folder, out)
    config = json.loads((out / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": config["lora_alpha"] * alpha}))
    tensors = read_safetensors(out / "adapter_model.safetensors")
    scaled = {name: np.array(value / alpha if "lora_B" in name else value) for name, value in tensors.items()}
    write_safetensors(out / "adapter_model.safetensors", scaled)
    return out


def test_content_is_there_once_whatever_it_is_called(library: Path) -> None:
    again = change.add(library, ADAPTERS / "four", "vier", tags=("more",), scores={"acc": 1.0, "f1": 0.5})
    assert not again.is_new
    assert names(library) == ["eight", "four", "one"]
    entry = find(read_index(library), "four")
    assert (entry.tags, dict(entry.scores)) == (("more", "tiny"), {"acc": 0.4, "f1": 0.5})
    assert (entry.rank, entry.modules, entry.task, entry.base) == (4, 14, "text-generation", "base")
    with pytest.raises(AdapterError, match=r"has another adapter 'one' \([0-9a-f]{12}\); give this one a --name"):
        change.add(library, with_alpha(ADAPTERS / "four", library.parent / "other", 2.0), "one")
    one = read_adapter(folder_of(library, entry))
    assert one.factors.keys() == read_adapter(ADAPTERS / "four").factors.keys()


def test_adapters_are_found_by_what_is_known_of_them(library: Path) -> None:
    entries = read_index(library)
    found = [
        [entry.name for entry in select(entries, wanted)]
        for wanted in (
            Wanted(words=("FOUR",)),
            Wanted(base="bas", tags=("tiny",)),
            Wanted(tags=("tiny", "none")),
            Wanted(at_least={"acc": 0.4}),
            Wanted(below={"acc": 0.4}),
            Wanted(below={"unknown": 9.0}),
            Wanted(older_days=1.0),
            Wanted(grid="none", task="text-generation", words=("e", "tiny")),
        )
    ]
    all_of_them = ["eight", "four", "one"]
    assert found == [["four"], all_of_them, [], ["eight", "four"], ["one"], [], [], all_of_them]
    assert [entry.name for entry in order(entries, "size")] == ["eight", "four", "one"]
    assert [entry.name for entry in order(entries, "acc")] == ["eight", "four", "one"]
    with pytest.raises(ConfigError, match="--sort is 'nope', expected name, size, age or a score"):
        order(entries, "nope")
    assert find(entries, entries[0].key[:8]) == entries[0]
    with pytest.raises(AdapterError, match="no adapter 'fuor' among its 3; did you mean 'four'"):
        find(entries, "fuor")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text(path.read_text()[:-20]),
        lambda path: path.write_text(path.read_text().replace('"rank": 4', '"rank": "x"')),
        lambda path: path.write_text("".join(path.read_text().splitlines(True)[1:])),
        lambda path: path.write_text(path.read_text() * 2),
        lambda path: path.write_text(""),
    ],
)
def test_an_index_that_is_missing_damaged_or_behind_is_made_anew(library: Path, damage: Callable[[Path], None]) -> None:
    before = read_index(library)
    damage(library / INDEX_FILE)
    assert read_index(library) == before
    assert sorted((library / INDEX_FILE).read_text().splitlines()) == sorted(
        json.dumps(entry.to_record()) for entry in before
    )


def test_an_entry_that_is_gone_comes_back_from_the_files(library: Path) -> None:
    four = find(read_index(library), "four")
    (folder_of(library, four) / "entry.json").write_text("{")
    (library / INDEX_FILE).unlink()
    again = find(read_index(library), f"adapter-{four.key[:12]}")
    assert (again.key, again.factors, again.rank) == (four.key, four.factors, four.rank)


def test_files_that_are_no_longer_those_of_their_key_are_told(library: Path) -> None:
    four = find(read_index(library), "four")
    (folder_of(library, four) / "adapter_config.json").write_bytes(
        (ADAPTERS / "four/adapter_config.json").read_bytes() + b" "
    )
    with pytest.raises(AdapterError, match="is damaged: its files are no longer those of 'four'; add it again"):
        publish(library, [four], library.parent / "out")
    assert not (library.parent / "out").exists()


STAGES = {
    "before the folder": ("put_folder", "before", "add"),
    "after the folder": ("put_folder", "after", "add"),
    "after the line": ("append_entry", "after", "add"),
    "before the words": ("write_atomically", "before", "enrich"),
    "after the words": ("write_atomically", "after", "enrich"),
    "before it goes": ("discard_folder", "before", "remove"),
    "after it went": ("discard_folder", "after", "remove"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_leaves_the_old_library_or_the_new_one(
    library: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    name, moment, what = STAGES[stage]
    original = getattr(change, name)

    def killed(*given: Any) -> None:
        if moment == "after":
            original(*given)
        os._exit(9)

    def command() -> None:
        setattr(change, name, killed)
        if what == "add":
            change.add(library, with_alpha(ADAPTERS / "four", library.parent / "fresh", 2.0), "new")
        elif what == "enrich":
            change.add(library, ADAPTERS / "four", tags=("again",))
        else:
            change.remove(library, [find(read_index(library), "four")])

    process = FORK.Process(target=command)
    process.start()
    process.join(60)
    assert process.exitcode == 9
    is_done = moment == "after"
    expected = {
        "add": ["eight", "four", "one"],
        "enrich": ["eight", "four", "one"],
        "remove": ["eight", "four", "one"],
    }[what]
    if is_done and what == "add":
        expected = ["eight", "four", "new", "one"]
    if is_done and what == "remove":
        expected = ["eight", "one"]
    assert names(library) == expected
    if what == "enrich":
        assert ("again" in find(read_index(library), "four").tags) == is_done
    change.add(library, ADAPTERS / "eight")  # nothing is in the way, and what was left is swept
    assert sorted(os.listdir(library / "adapters")) == sorted(entry.key for entry in read_index(library))


def _add_ten(library: Path, number: int, folder: Path) -> None:
    for count in range(10):
        change.add(library, with_alpha(ADAPTERS / "one", folder / f"{number}-{count}", 2.0 + 10 * number + count))


def test_processes_at_the_same_time_all_come_through(library: Path, tmp_path: Path) -> None:
    processes = [FORK.Process(target=_add_ten, args=(library, number, tmp_path)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(names(library)) == 33
    held = pytest.raises(AdapterError, match=r"is being changed by another command, which holds .*\.lock")
    with changing(library), held, changing(library, wait=0.1):
        pass


def test_a_folder_of_other_things_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"is no library: it holds work\.txt; choose another folder with --library"):
        change.add(tmp_path, ADAPTERS / "one")
    assert os.listdir(tmp_path) == ["work.txt"]
    assert read_index(tmp_path / "nowhere") == ()
    monkeypatch.setenv("EDGELORA_LIBRARY", "/somewhere")
    assert default_library() == Path("/somewhere")
    monkeypatch.delenv("EDGELORA_LIBRARY")
    monkeypatch.setattr(index_module.sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_library() == Path("/data/edgelora/library")


def test_equal_factors_in_other_files_are_one_too_many(library: Path, tmp_path: Path, capsys: Any) -> None:
    copy = Path(shutil.copytree(ADAPTERS / "four", tmp_path / "copy"))
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "elsewhere"}))
    change.add(library, copy)
    code, told, _ = run(capsys, "deduplicate", "--dry-run", "--library", library)
    assert (code, [item["name"] for item in told["removed"]], told["dry_run"]) == (0, ["copy"], True)
    assert len(names(library)) == 4
    code, told, _ = run(capsys, "deduplicate", "--library", library)
    assert names(library) == ["eight", "four", "one"]


def test_two_adapters_are_as_far_apart_as_their_deltas(library: Path, tmp_path: Path) -> None:
    change.add(library, with_alpha(ADAPTERS / "four", tmp_path / "same", 2.0))
    entries = read_index(library)

    def compared(first: str, second: str) -> Any:
        one, two = find(entries, first), find(entries, second)
        return compare_two(one, two, (folder_of(library, one), folder_of(library, two)))

    same = compared("four", "same")
    assert same.cosine == pytest.approx(1.0, abs=1e-6)
    assert same.distance == pytest.approx(0.0, abs=1e-3)
    found = compared("four", "eight")
    deltas = [
        {name: item.delta().astype(np.float64) for name, item in read_adapter(ADAPTERS / name_of).factors.items()}
        for name_of in ("four", "eight")
    ]
    inner = sum(float((deltas[0][name] * deltas[1][name]).sum()) for name in deltas[0].keys() & deltas[1].keys())
    norms = [float(np.sqrt(sum((value**2).sum() for value in side.values()))) for side in deltas]
    assert found.cosine == pytest.approx(inner / norms[0] / norms[1], rel=1e-4)
    assert found.norms == pytest.approx(tuple(norms), rel=1e-4)
    assert {*found.only[0]} == deltas[0].keys() - deltas[1].keys()


def test_a_set_goes_into_an_artifact_and_answers(library: Path, tmp_path: Path, capsys: Any) -> None:
    artifact = Path(shutil.copytree(TINY, tmp_path / "artifact"))
    for name in ("one", "four"):
        assert main(["adapter", "remove", str(artifact), name]) == 0
    capsys.readouterr()
    code, told, _ = run(capsys, "export", artifact, "one", "four", "--library", library)
    assert (code, [info["name"] for info in told["added"]]) == (0, ["one", "four"])
    assert read_manifest(artifact).adapter_names == ("eight", "one", "four")
    with load(artifact, threads=1) as model, load(TINY, threads=1) as before:
        np.testing.assert_array_equal(model.logits([5, 6], adapter="four"), before.logits([5, 6], adapter="four"))
    code, _, err = run(capsys, "export", artifact, "--tag", "tiny", "--library", library)
    assert code == 2 and "already has eight, four, one; remove them first" in err and err.count("\n") == 1


def test_every_command_answers_in_json_and_refuses_in_one_line(library: Path, tmp_path: Path, capsys: Any) -> None:
    place = ("--library", library)
    for words in (
        ["list"],
        ["search", "tiny"],
        ["show", "one"],
        ["compare", "one", "four"],
        ["publish", tmp_path / "out"],
    ):
        code, told, _ = run(capsys, *words, *place)
        assert code == 0 and told
    for words, line in (
        (["prune"], "prune removes what is described"),
        (["show", "nobody"], "no adapter 'nobody'"),
        (["add", tmp_path / "nowhere"], "has no adapter_config.json; expected a folder saved by PEFT"),
        (["add", ADAPTERS / "one", "--score", "x"], "--score is 'x', expected NAME=NUMBER"),
        (["add", ADAPTERS / "one", "--name", "a b"], "adapter name 'a b' cannot be used"),
        (["add", ADAPTERS / "one", ADAPTERS / "four", "--name", "x"], "--name is one name, and there are 2"),
        (["publish", library], "holds other things than a published library"),
        (["publish", tmp_path / "p", "nobody"], "no adapter 'nobody'"),
        (["push", "somewhere"], "is no repository, expected hf:OWNER/NAME"),
        (["pull", "ftp://a/b"], "is no address, expected https://HOST/FOLDER/"),
    ):
        code, _, err = run(capsys, *words, *place)
        assert (code, err.count("\n")) == (2, 1)
        assert line in err
    assert names(library) == ["eight", "four", "one"]
    code, told, _ = run(capsys, "prune", "--below", "acc=0.4", *place)
    assert [item["name"] for item in told["removed"]] == ["one"]
    code, told, _ = run(capsys, "remove", "four", "eight", *place)
    assert (code, names(library)) == (0, [])


def test_a_published_folder_is_whole_and_replaced_alone(library: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish(library, read_index(library), out)
    published = parse_published((out / "index.json").read_bytes(), "index.json")
    assert [item.entry for item in published] == list(read_index(library))
    for item in published:
        for name, info in item.files.items():
            assert (out / item.path / name).stat().st_size == info.bytes
    publish(library, read_index(library)[:1], out)
    assert len(os.listdir(out / "adapters")) == 1
    (out / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"holds other things than a published library \(mine\.txt\)"):
        publish(library, read_index(library), out)


def test_the_published_folder_that_other_languages_read_is_what_publish_writes(tmp_path: Path) -> None:
    about = change.About("Four", None, (), "apache-2.0")
    made = change.add(tmp_path / "library", ADAPTERS / "four", None, ("tiny",), {"exact_match": 0.5}, about)
    publish(tmp_path / "library", [made.entry], tmp_path / "out")
    stored = CONFORMANCE / "published-library"
    (known,) = parse_published((stored / "index.json").read_bytes(), "index.json")
    (found,) = parse_published((tmp_path / "out/index.json").read_bytes(), "index.json")
    assert dataclasses.replace(found.entry, added=known.entry.added) == known.entry
    assert (found.path, found.files) == (known.path, known.files)
    names_of = [sorted(path.relative_to(root) for path in root.rglob("*")) for root in (stored, tmp_path / "out")]
    assert names_of[0] == names_of[1]


@pytest.mark.parametrize(
    ("change_it", "message"),
    [
        (lambda data: data.update(format="x"), "is no index of a published library"),
        (lambda data: data["adapters"][0].update(path="../x"), "path is '../x', expected adapters/ and the key"),
        (lambda data: data["adapters"][0]["files"].update({"../x": {"bytes": 1, "sha256": "0" * 64}}), "has no size"),
        (
            lambda data: data["adapters"][0]["files"]["adapter_config.json"].update(sha256="0" * 64),
            "do not make its key",
        ),
        (lambda data: data["adapters"][0].update(name="a/b"), "found name 'a/b'"),
        (lambda data: data["adapters"].append(data["adapters"][0]), "a name stands twice"),
    ],
)
def test_a_hostile_index_is_refused(library: Path, tmp_path: Path, change_it: Any, message: str) -> None:
    publish(library, read_index(library), tmp_path / "out")
    data = json.loads((tmp_path / "out/index.json").read_text())
    change_it(data)
    with pytest.raises(AdapterError, match=message):
        parse_published(json.dumps(data).encode(), "index.json")


def test_a_thousand_adapters_are_listed_and_added_to_quickly(library: Path, tmp_path: Path) -> None:
    """Processor time, which a busy machine disturbs less; `python -m benchmarks.many_adapters` takes the wall's."""
    four = find(read_index(library), "four")
    with changing(library) as entries:
        for number in range(1000):
            key = f"{number:064x}"
            (library / "adapters" / key).mkdir()
            entries[key] = type(four)(**{**four.to_record(), "key": key, "name": f"n{number}"})
        index_module.write_index(library, entries)
    started = time.process_time()
    assert len(select(read_index(library), Wanted(words=("n99",)))) == 11
    assert time.process_time() - started < 0.3
    fresh = with_alpha(ADAPTERS / "one", tmp_path / "fresh", 3.0)
    started = time.process_time()
    assert change.add(library, fresh).is_new
    assert time.process_time() - started < 0.05
