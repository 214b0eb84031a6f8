"""Adapters that come and go: refused where they do not belong, dropped beyond a budget, never met by old keys."""

from __future__ import annotations

import gc
import json
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora_runtime import AdapterError, ArtifactError, InputError, Model, load
from edgelora_runtime.graph import Graph
from edgelora_runtime.manifest import file_info
from tests.opened import open_parts

ARTIFACT = Path(__file__).resolve().parents[2] / "runtime" / "conformance" / "tiny-float"
IDS = [7, 8, 9, 40, 41, 42]
OTHER = "0" * 64


def adapter(name: str) -> Path:
    return ARTIFACT / "adapters" / name


def write_receipt(folder: Path, base: dict[str, Any] | None = None, **fields: Any) -> None:
    manifest = load(ARTIFACT).manifest
    text = manifest.tokenizer
    assert text is not None
    assert text.chat_template is not None
    known = {
        "name": "tiny",
        "fingerprint": manifest.base.fingerprint,
        "grid": manifest.base.grid,
        "tokenizer": manifest.files[text.file].sha256,
        "chat_template": manifest.files[text.chat_template].sha256,
    }
    receipt = {"format_version": 1, "base": {**known, **(base or {})}, **fields}
    (folder / "receipt.json").write_text(json.dumps(receipt))


def fresh(folder: Path) -> np.ndarray:
    model = load(ARTIFACT, threads=1)
    model.load_adapter("it", folder)
    return model.logits(IDS, adapter="it")


@pytest.fixture
def model() -> Model:
    return load(ARTIFACT, threads=1)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter("four"), tmp_path / "mine"))


FOREIGN = [
    ({"fingerprint": OTHER}, {}, "trained for another base"),
    ({"grid": OTHER}, {}, "trained on another grid"),
    ({"tokenizer": OTHER}, {}, "trained with another tokenizer"),
    ({"chat_template": OTHER}, {}, "trained with another chat template"),
    ({}, {"weights": OTHER}, "belongs to other factors"),
    ({}, {"modules": {"matched": 1, "expected": 2, "missing": ["model.layers.0.x"]}}, "modules without factors"),
]


@pytest.mark.parametrize(("base", "fields", "message"), FOREIGN)
def test_an_adapter_of_something_else_is_refused_unless_it_is_trusted(
    base: dict[str, str], fields: dict[str, Any], message: str, mine: Path, tmp_path: Path
) -> None:
    expected = fresh(mine)
    write_receipt(mine, base, **fields)
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        model = load(ARTIFACT, threads=1, cache=cache)
        with pytest.raises(AdapterError, match=rf"'mine' .*{message}") as caught:
            model.load_adapter("mine", mine)
        assert len(str(caught.value)) < 500
        assert "mine" not in model.adapters
        model.load_adapter("mine", mine, trust=True)
        np.testing.assert_array_equal(model.logits(IDS, adapter="mine"), expected)
    with pytest.raises(AdapterError, match=message):
        load(ARTIFACT, threads=1, cache=tmp_path / "cache").load_adapter("mine", mine)


def test_what_the_receipt_allows_is_loaded(mine: Path, model: Model) -> None:
    for base, fields in (
        ({}, {"weights": file_info(mine / "adapter_model.safetensors").sha256}),
        ({"grid": None, "tokenizer": None, "chat_template": None}, {}),
        ({"chat_template": OTHER}, {"training": {"raw": True}}),
    ):
        write_receipt(mine, base, **fields)
        model.load_adapter("mine", mine)


@pytest.mark.parametrize("is_cached", [False, True])
def test_adapters_of_the_artifact_are_held_to_their_receipts_when_they_are_read(
    tmp_path: Path, is_cached: bool
) -> None:
    artifact = Path(shutil.copytree(ARTIFACT, tmp_path / "tiny"))
    cache = tmp_path / "cache" if is_cached else None
    load(artifact, threads=1, cache=cache).logits(IDS, adapter="four")
    write_receipt(artifact / "adapters" / "four", {"fingerprint": OTHER})
    model = load(artifact, threads=1, cache=cache)
    for spec in ("four", "one:0.5+four"):
        with pytest.raises(AdapterError, match=r"'four' .*trained for another base"):
            model.logits(IDS, adapter=spec)
    model.logits(IDS, adapter="one")


def test_the_same_adapter_kept_packed_is_not_taken_for_another_base(mine: Path, tmp_path: Path) -> None:
    """Bases that differ in weights alone have graph files that are equal byte for byte."""
    write_receipt(mine)
    load(ARTIFACT, threads=1, cache=tmp_path / "cache").load_adapter("mine", mine)
    other = Path(shutil.copytree(ARTIFACT, tmp_path / "other"))
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["base"]["fingerprint"] = OTHER
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(AdapterError, match="trained for another base"):
        load(other, threads=1, cache=tmp_path / "cache").load_adapter("mine", mine)


def test_an_unloaded_adapter_is_gone_with_its_blends() -> None:
    opened = open_parts(ARTIFACT, threads=1)
    model = opened.model
    model.load_adapter("mine", adapter("eight"))
    model.logits(IDS, adapter="one:0.5+mine:0.5")
    model.generate_ids([IDS, IDS], adapter=["mine", "one"], max_new_tokens=2)
    model.logits(IDS, adapter="mine")
    old = weakref.ref(opened.session.adapter)
    before = opened.adapters.n_bytes
    model.unload_adapter("mine")
    assert "mine" not in model.adapters
    gc.collect()
    assert old() is None
    assert opened.adapters.n_bytes < before / 2
    for spec in ("mine", "one:0.5+mine:0.5"):
        with pytest.raises(AdapterError, match="unknown adapter 'mine'"):
            model.logits(IDS, adapter=spec)
    with pytest.raises(AdapterError, match="unknown adapter 'mine'"):
        model.unload_adapter("mine")
    model.load_adapter("mine", adapter("four"))
    np.testing.assert_array_equal(model.logits(IDS, adapter="mine"), fresh(adapter("four")))


def test_the_adapter_that_is_set_stays(model: Model) -> None:
    model.set_adapter("one:0.5+four:0.5")
    with pytest.raises(AdapterError, match="'four' is in use"):
        model.unload_adapter("four")
    model.set_adapter("none")
    model.unload_adapter("four")
    assert model.adapters == ("one", "eight")


def read_folders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    import edgelora_runtime.open_adapter as module

    folders: list[str] = []
    original = module.read_adapter

    def record(folder: Path, *given: bool, **named: bool) -> object:
        folders.append(folder.name)
        return original(folder, *given, **named)

    monkeypatch.setattr(module, "read_adapter", record)
    return folders


def test_beyond_the_budget_the_adapter_unused_for_longest_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {}
    for name in ("one", "four", "eight"):
        alone = open_parts(ARTIFACT, threads=1)
        alone.model.logits(IDS, adapter=name)
        sizes[name] = alone.adapters.n_bytes
    budget = sizes["four"] + sizes["eight"]
    model = load(ARTIFACT, threads=1, adapter_bytes=budget)
    parts = open_parts(ARTIFACT, threads=1, adapter_bytes=budget)
    read = read_folders(monkeypatch)
    for spec in ("four", "eight", "four", "one", "four", "eight", "one:0.3+four", "one:0.3+four", "four", "eight"):
        np.testing.assert_array_equal(model.logits(IDS, adapter=spec), load(ARTIFACT).logits(IDS, adapter=spec))
        parts.model.logits(IDS, adapter=spec)
        assert 0 < parts.adapters.n_bytes <= budget
    read.clear()
    for spec, count in (("four", 0), ("eight", 0), ("one", 1), ("eight", 1), ("four", 2)):
        model.logits(IDS, adapter=spec)
        assert len(read) == count, spec
    small = load(ARTIFACT, threads=1, adapter_bytes=1)
    for spec in ("four", "one:0.5+eight:0.5", "four"):
        np.testing.assert_array_equal(small.logits(IDS, adapter=spec), load(ARTIFACT).logits(IDS, adapter=spec))
    assert small.generate_ids([IDS] * 3, adapter=["one", "four", "eight"], max_new_tokens=5) == model.generate_ids(
        [IDS] * 3, adapter=["one", "four", "eight"], max_new_tokens=5
    )


@pytest.mark.parametrize("budget", [0, -1, 1.5, True, "1"])
def test_budgets_that_are_none(budget: Any) -> None:
    with pytest.raises(InputError, match="adapter_bytes is"):
        load(ARTIFACT, adapter_bytes=budget)


def test_a_closed_model_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: weakref.WeakSet[Graph] = weakref.WeakSet()

    class Recorded(Graph):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            graphs.add(self)

    monkeypatch.setattr("edgelora_runtime.session.Graph", Recorded)
    with load(ARTIFACT, threads=1) as model:
        stream = model.generate("x", stream=True)
        next(stream)
        assert len(graphs) == 1
    gc.collect()
    assert len(graphs) == 0
    calls: list[Callable[[], object]] = [
        lambda: next(stream),
        lambda: model.generate("x"),
        lambda: model.generate("x", choices=["a"]),
        lambda: next(model.generate("x", stream=True)),
        lambda: model.generate_ids([[1], [2]]),
        lambda: model.chat([{"role": "user", "content": "x"}]),
        lambda: model.logits([1]),
        lambda: model.score([1], [2]),
        lambda: model.set_adapter("one"),
        lambda: model.load_adapter("x", adapter("one")),
        lambda: model.unload_adapter("one"),
        lambda: model.keep_prefix([1]),
        lambda: model.probe("one"),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"was closed; load the artifact again|another call used this model"):
            call()
    model.close()
    with pytest.raises(KeyError), load(ARTIFACT, threads=1) as other:
        raise KeyError
    with pytest.raises(InputError, match="was closed"):
        other.logits([1])


def replace_on_disk(artifact: Path, name: str, by: Path) -> None:
    """As ``adapter remove`` and ``adapter add`` do it."""
    from edgelora.artifact.store import add_adapter, remove_adapter

    remove_adapter(artifact, name)
    add_adapter(artifact, name, by)


def test_an_adapter_replaced_on_disk_never_meets_the_keys_of_the_old_one(tmp_path: Path) -> None:
    artifact = Path(shutil.copytree(ARTIFACT, tmp_path / "tiny"))
    prefix, cache = tmp_path / "kept.prefix", tmp_path / "cache"
    expected = {name: fresh(adapter(name)) for name in ("four", "eight")}
    model = load(artifact, threads=1, cache=cache, adapter_bytes=1)  # so that every other adapter drops this one
    np.testing.assert_array_equal(model.logits(IDS, adapter="four"), expected["four"])
    replace_on_disk(artifact, "four", adapter("eight"))
    model.keep_prefix(IDS[:4], prefix, adapter="four")  # still the one that was read: its keys, and its name on them
    np.testing.assert_array_equal(model.logits(IDS, adapter="four"), expected["four"])
    model.logits(IDS, adapter="one")
    np.testing.assert_array_equal(model.logits(IDS, adapter="four"), expected["eight"])
    for place in (None, cache):
        again = load(artifact, threads=1, cache=place)
        with pytest.raises(ArtifactError, match="was kept with another artifact or adapter"):
            again.load_prefix(prefix, adapter="four")
        np.testing.assert_array_equal(again.logits(IDS, adapter="four"), expected["eight"])
    old = load(ARTIFACT, threads=1)
    assert old.load_prefix(prefix, adapter="four") == 4
    np.testing.assert_allclose(old.logits(IDS, adapter="four"), expected["four"], atol=1e-5)


def test_an_adapter_loaded_anew_under_its_name_never_meets_old_keys(model: Model) -> None:
    rows = [IDS, IDS[:3]]
    for name in ("four", "eight", "one", "four"):
        model.load_adapter("it", adapter(name))
        np.testing.assert_array_equal(model.logits(IDS, adapter="it"), fresh(adapter(name)))
        model.keep_prefix(IDS[:5], adapter="it")
        np.testing.assert_allclose(model.logits(IDS, adapter="it"), fresh(adapter(name)), atol=1e-5)
        for spec in ("it:0.5+one", "it:2"):
            expected = load(ARTIFACT, threads=1).logits(IDS, adapter=spec.replace("it", name))
            np.testing.assert_array_equal(model.logits(IDS, adapter=spec), expected)
        expected_rows = load(ARTIFACT).generate_ids(rows, adapter=[name, "one"], max_new_tokens=5)
        assert model.generate_ids(rows, adapter=["it", "one"], max_new_tokens=5) == expected_rows


def test_factors_changed_in_place_with_their_time_set_back_are_packed_anew(mine: Path, tmp_path: Path) -> None:
    """What ``cp -p``, ``rsync -a`` and unpacking an archive do."""
    weights = mine / "adapter_model.safetensors"
    cache = tmp_path / "cache"
    load(ARTIFACT, threads=1, cache=cache).load_adapter("mine", mine)
    before, content = weights.stat(), bytearray(weights.read_bytes())
    values = np.frombuffer(content, np.float32, offset=len(content) - 4000)
    values *= 0.5
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.stat().st_ino == before.st_ino
    model = load(ARTIFACT, threads=1, cache=cache)
    model.load_adapter("mine", mine)
    np.testing.assert_array_equal(model.logits(IDS, adapter="mine"), fresh(mine))
    assert np.abs(fresh(mine) - fresh(adapter("four"))).max() > 1e-3


def with_many(folder: Path, count: int) -> Path:
    """The artifact with ``count`` adapters; the last alone has files, and they are those of ``four``."""
    data = json.loads((ARTIFACT / "manifest.json").read_text())
    four = next(info for info in data["adapters"] if info["name"] == "four")
    files = {name: info for name, info in data["files"].items() if not name.startswith("adapters/")}
    names = [f"n{number}" for number in range(count)]
    for name in names:
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            files[f"adapters/{name}/{file}"] = data["files"][f"adapters/four/{file}"]
    data["adapters"] = [{**four, "name": name, "path": f"adapters/{name}"} for name in names]
    shutil.copytree(ARTIFACT, folder, ignore=shutil.ignore_patterns("adapters"))
    shutil.copytree(adapter("four"), folder / "adapters" / names[-1])
    (folder / "manifest.json").write_text(json.dumps({**data, "files": files}))
    return folder


def test_nothing_of_an_adapter_is_looked_at_before_it_is_used(model: Model, tmp_path: Path) -> None:
    many = load(with_many(tmp_path / "many", 40), threads=1)
    assert many.adapters[::39] == ("n0", "n39")
    np.testing.assert_array_equal(many.logits(IDS, adapter="n39"), model.logits(IDS, adapter="four"))
    with pytest.raises(ArtifactError, match=r"is damaged: adapters/n3/adapter_config\.json: missing; adapters/n3/"):
        many.logits(IDS, adapter="n3")
    with pytest.raises(ArtifactError, match=r"adapters/n0/adapter_config\.json: missing; .* and \d+ more"):
        load(tmp_path / "many", hashes=True)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_other_bytes_than_the_manifest_says_are_refused_when_an_adapter_is_used(tmp_path: Path, file: str) -> None:
    opened = load(with_many(tmp_path / "many", 2), threads=1)
    path = tmp_path / "many/adapters/n1" / file
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(ArtifactError, match=f"adapters/n1/{file}: sha256"):
        opened.set_adapter("n1")
    opened.load_adapter("n1", adapter("four"))  # the name means another folder now
    opened.set_adapter("n1")


def test_what_a_manifest_says_of_an_adapter_is_refused_when_it_is_used(tmp_path: Path) -> None:
    folder = with_many(tmp_path / "many", 3)
    data = json.loads((folder / "manifest.json").read_text())
    data["adapters"][1]["path"] = "../n1"
    data["files"]["adapters/n0/adapter_config.json"]["sha256"] = "X"
    (folder / "manifest.json").write_text(json.dumps(data))
    opened = load(folder, threads=1)
    for name, message in (("n1", r"adapters\[1\]: path is '\.\./n1'"), ("n0", "sha256 is 'X', expected 64")):
        with pytest.raises(ArtifactError, match=message):
            opened.set_adapter(name)
    opened.set_adapter("n2")
