"""The whole way in Python: the example's calls on a tiny model, and what they refuse."""

import ast
import json
from pathlib import Path

import pytest

import edgelora
from edgelora.cli import main
from edgelora_runtime.manifest import read_manifest
from examples.whole_way import whole_way
from tests.tiny import write_checkpoint


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("api") / "model")


@pytest.fixture(scope="module")
def rows(base: Path) -> Path:
    path = base.parent / "rows.jsonl"
    lines = [{"prompt": f"say {word}", "completion": word.upper()} for word in ("one", "two", "drei", "fier")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines * 4))
    return path


def test_the_example_goes_the_whole_way(base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = whole_way(base, rows, tmp_path, steps=2)
    assert capsys.readouterr().out.endswith("verified: True\n")
    assert list(model.adapters) == ["icd"]
    assert model.generate("say one", adapter="icd", max_new_tokens=4).text != ""


def test_the_example_stays_short() -> None:
    source = Path(whole_way.__code__.co_filename).read_text(encoding="utf-8")
    function = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    called = {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
    assert {"train", "recover", "quantize", "export", "add_adapter", "verify"} <= called
    assert len(source.splitlines()) <= 30


def test_a_command_and_its_call_make_the_same(base: Path, rows: Path, tmp_path: Path) -> None:
    options = edgelora.TrainOptions(max_steps=3, rank=2, target_modules=("q_proj", "v_proj"), date="2025-01-31")
    edgelora.train(str(base), str(rows), tmp_path / "call", options)
    arguments = ["--max-steps", "3", "--rank", "2", "--target-modules", "q_proj, v_proj", "--date", "2025-01-31"]
    assert main(["train", str(base), str(rows), "-o", str(tmp_path / "command"), *arguments]) == 0
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "call" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    edgelora.export(base, tmp_path / "a", edgelora.ExportOptions(target="mobile", adapters={"x": tmp_path / "call"}))
    adapter = f"x={tmp_path / 'call'}"
    assert main(["export", str(base), "-o", str(tmp_path / "b"), "--target", "mobile", "--adapter", adapter]) == 0
    assert read_manifest(tmp_path / "a").files == read_manifest(tmp_path / "b").files


def test_paths_may_be_text_and_a_rank_is_read(base: Path, rows: Path, tmp_path: Path) -> None:
    first = edgelora.train(base, rows, tmp_path / "first", edgelora.TrainOptions(rank="2", max_steps=1))
    again = edgelora.TrainOptions(start_from=str(first.adapter), max_steps=1)  # type: ignore[arg-type]
    assert edgelora.train(base, rows, tmp_path / "second", again).steps == 1
    assert edgelora.TrainOptions(target_modules="q_proj,v_proj").target_modules == ("q_proj", "v_proj")  # type: ignore[arg-type]
    adapters = {"a": str(first.adapter)}
    options = edgelora.ExportOptions(adapters=adapters)  # type: ignore[arg-type]
    exported = edgelora.export(base, tmp_path / "artifact", options)
    assert [item.name for item in exported.manifest.adapters] == ["a"]


def test_what_a_caller_can_put_right_is_an_error_of_ours(base: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for call, words in (
        (lambda: edgelora.train(base, rows, out, edgelora.TrainOptions(rank="many")), "--rank is 'many'"),
        (lambda: edgelora.train(base, rows, out, edgelora.TrainOptions(epochs=0)), "--epochs is 0"),
        (lambda: edgelora.train(base, tmp_path / "no.jsonl", out), "no.jsonl"),
        (lambda: edgelora.recover(base, rows, out, grid=edgelora.GridChoice("none")), "recover mends a quantized base"),
        (lambda: edgelora.quantize(base, out, edgelora.GridChoice("fp16")), "keeps floats"),
        (lambda: edgelora.export(tmp_path / "nothing", out), "nothing"),
        (lambda: edgelora.ExportOptions(kv_cache="int3"), "--kv-cache is 'int3'"),
        (lambda: edgelora.add_adapter(out, "a", base), "out"),
        (lambda: edgelora.verify(out), "out"),
    ):
        with pytest.raises(edgelora.EdgeLoraError, match=words):
            call()
    assert not out.exists()
