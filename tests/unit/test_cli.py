import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgelora.cli import COMMANDS, main
from edgelora_runtime import load
from edgelora_runtime.manifest import file_info
from tests.tiny import write_adapter, write_artifact
from tests.unit.test_adapter_store import environment

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(item) for item in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def process(*arguments: object, stdin: str | None = "", code: str = "") -> subprocess.CompletedProcess[str]:
    """The real program in a process of its own."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "edgelora"]), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment(), timeout=120)


def one_line(found: tuple[int, str, str], *parts: str) -> None:
    """Bad input: exit code 2, nothing on standard output, one line that starts with the program's name."""
    code, out, err = found
    assert code == 2, err
    assert out == ""
    assert err.startswith("edgelora: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for part in parts:
        assert part in err


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


# --- the frame ---


def test_help_names_every_command_and_waits_for_nothing_heavy() -> None:
    program = (
        "import sys; from edgelora.cli import main; codes = [main(word.split(',')) for word in sys.argv[1:]]; "
        "print(codes, [m for m in ('torch', 'onnx', 'transformers', 'peft', 'tokenizers') if m in sys.modules])"
    )
    light = [f"{name},--help" for name in ("run", "chat", "eval", "verify", "bench", "inspect", "adapter")]
    done = process("--help", *light, code=program)
    assert done.stdout.endswith(f"{[0] * 8} []\n"), done.stderr
    for name in COMMANDS:
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "Missing command"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["--frobnicate"], "No such option: --frobnicate"),
        (["run"], "Missing argument 'artifact'; see `edgelora run --help`"),
        (["run", "x", "--max-new-tokens", "many"], "--max-new-tokens"),
        (["adapter"], "Missing command"),
        (["adapter", "add", "x"], "Missing argument 'NAME=ADAPTER_DIR'"),
        (["eval", "x", "y", "--limit", "0"], "--limit"),
    ],
)
def test_usage_errors_are_one_line(call: Call, arguments: list[str], part: str) -> None:
    one_line(call(*arguments), part)


def test_an_interrupt_is_one_line_and_130(call: Call, monkeypatch: pytest.MonkeyPatch, shared_artifact: Path) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgelora.cli.inspect.read_manifest", interrupt)
    assert call("inspect", shared_artifact) == (130, "", "edgelora: interrupted\n")


def test_a_reader_that_goes_away_is_no_error(shared_artifact: Path) -> None:
    command = f"{sys.executable} -m edgelora inspect {shared_artifact} --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment())
    assert done.stderr == ""


# --- run ---


def test_run_streams_what_the_runtime_generates(call: Call, shared_artifact: Path) -> None:
    expected = load(shared_artifact).generate("Grüße 東京", adapter="usual", max_new_tokens=9)
    options = ["--adapter", "usual", "--prompt", "Grüße 東京", "--max-new-tokens", 9]
    assert call("run", shared_artifact, *options) == (0, expected.text + "\n", "")
    code, out, _ = call("run", shared_artifact, *options, "--lookup", "--json")
    (result,) = json.loads(out)["results"]
    assert code == 0
    assert result["prompt"] == "Grüße 東京"
    assert (result["text"], result["finish_reason"]) == (expected.text, expected.finish_reason)
    assert result["token_ids"] == list(expected.token_ids)
    assert len(result["token_ids"]) == 9


def test_run_answers_a_file_with_an_adapter_per_line(call: Call, shared_artifact: Path, tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "kurz"}, {"role": "user", "content": "b"}]
    file = lines(tmp_path / "p.jsonl", {"prompt": "a"}, "", {"messages": messages, "adapter": "usual:0.5+one:0.5"})
    code, out, err = call("run", shared_artifact, "--file", file, "--adapter", "one", "--max-new-tokens", 4, "--json")
    assert code == 0, err
    first, second = json.loads(out)["results"]
    model = load(shared_artifact)
    assert first["text"] == model.generate("a", adapter="one", max_new_tokens=4).text
    assert second["text"] == model.chat(messages, adapter="usual:0.5+one:0.5", max_new_tokens=4).text
    assert second["prompt"] == messages
    plain = call("run", shared_artifact, "--file", file, "--adapter", "one", "--max-new-tokens", 4)
    assert plain[1] == f"{first['text']}\n{second['text']}\n"


def test_run_samples_repeatably_and_reads_standard_input(shared_artifact: Path) -> None:
    arguments = ["run", shared_artifact, "--raw", "--temperature", "2", "--max-new-tokens", "12", "--json", "--seed"]
    first, again, other = (process(*arguments, seed, stdin="Käse\n") for seed in (1, 1, 2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout != other.stdout
    assert json.loads(first.stdout)["results"][0]["prompt"] == "Käse"


def test_run_without_a_prompt_or_with_two_is_refused(call: Call, shared_artifact: Path, tmp_path: Path) -> None:
    done = process("run", shared_artifact)
    one_line((done.returncode, done.stdout, done.stderr), "no prompt; give --prompt TEXT")
    one_line(call("run", shared_artifact, "--prompt", "a", "--file", tmp_path), "exclude each other")


@pytest.mark.parametrize("command", ["run", "eval", "bench"])
def test_unknown_adapters_and_malformed_specs_are_refused(
    call: Call, shared_artifact: Path, tmp_path: Path, command: str
) -> None:
    data = lines(tmp_path / "d.jsonl", {"prompt": "a", "completion": "b"})
    rest = {"run": ["--prompt", "a"], "eval": [data], "bench": []}[command]
    one_line(call(command, shared_artifact, *rest, "--adapter", "usuall"), "usuall", "usual", "one")
    for spec in ("usual:", "usual:x", "usual++one", ":0.5", "usual:nan", ""):
        one_line(call(command, shared_artifact, *rest, "--adapter", spec))


def test_run_names_the_lines_of_a_file_that_hold_no_prompt(call: Call, shared_artifact: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "p.jsonl", {"prompt": "a"}, "{", [1], {"prompt": 3}, {"prompt": "a", "adapter": 1})
    one_line(
        call("run", shared_artifact, "--file", file), "line 2: not JSON", "line 3: a JSON list", "line 4", "1 more"
    )
    one_line(call("run", shared_artifact, "--file", lines(tmp_path / "e.jsonl")), "is empty")
    one_line(call("run", shared_artifact, "--file", tmp_path / "missing.jsonl"), "missing.jsonl: No such file")
    chat = lines(tmp_path / "m.jsonl", {"messages": [{"role": "user", "content": "a"}]})
    one_line(call("run", shared_artifact, "--file", chat, "--raw"), "--raw leaves out")


@pytest.mark.parametrize(
    "option", [["--temperature", "-1"], ["--top-p", "2"], ["--top-k", "-1"], ["--max-new-tokens", "-1"]]
)
def test_sampling_options_out_of_range_are_refused(call: Call, shared_artifact: Path, option: list[str]) -> None:
    one_line(call("run", shared_artifact, "--prompt", "a", *option))


# --- damaged artifacts ---


@pytest.mark.parametrize("command", [["run", "--prompt", "a"], ["verify"], ["inspect"], ["bench"], ["adapter", "list"]])
def test_a_newer_format_is_refused_by_every_command(call: Call, artifact: Path, command: list[str]) -> None:
    path = artifact / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    name = 2 if command[0] == "adapter" else 1
    found = call(*command[:name], artifact, *command[name:])
    one_line(found, "format_version 2 is newer than 1, the newest this runtime reads; update edgelora")


def test_a_missing_or_unreadable_manifest_is_refused(call: Call, artifact: Path) -> None:
    one_line(call("verify", artifact / "nowhere"), "nowhere is not a folder")
    path = artifact / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"edgelora"', b'"edgelor\xff"', 1))
    one_line(call("verify", artifact), "manifest.json")
    path.unlink()
    one_line(call("verify", artifact), "has no manifest.json")


def test_verify_finds_a_flipped_byte(call: Call, artifact: Path) -> None:
    path = artifact / "weights.bin"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    code, out, err = call("verify", artifact, "--json")
    assert (code, err) == (1, "")
    report = json.loads(out)
    assert report["passed"] is False
    assert [check["name"] for check in report["checks"]] == ["files"]
    assert "weights.bin: sha256 " in report["checks"][0]["detail"]


def test_run_finds_a_truncated_file_before_it_loads(call: Call, artifact: Path) -> None:
    path = artifact / "weights.bin"
    path.write_bytes(path.read_bytes()[:-1])
    one_line(call("run", artifact, "--prompt", "a"), "weights.bin", "bytes, expected")


def test_a_graph_that_does_not_load_fails_verify_without_a_traceback(call: Call, artifact: Path) -> None:
    (artifact / "decoder.onnx").write_bytes(b"no graph")
    rehash(artifact, "decoder.onnx")
    code, out, err = call("verify", artifact)
    assert (code, err) == (1, "")
    assert "FAILED graph: " in out


# --- verify ---


@pytest.mark.parametrize(("quant", "level"), [("int4", 0), ("int4", 4), ("int8", 4), ("none", 0)])
def test_verify_passes_on_what_export_writes(
    call: Call, tiny_checkpoint: Path, tmp_path: Path, quant: str, level: int
) -> None:
    write_artifact(tiny_checkpoint, tmp_path / "a", quant=quant, level=level)
    code, out, err = call("verify", tmp_path / "a", "--json")
    assert code == 0, out + err
    names = [check["name"] for check in json.loads(out)["checks"]]
    assert names[:4] == ["files", "graph", "logits 0", "greedy 0"]


def test_verify_looks_at_every_adapter(call: Call, shared_artifact: Path) -> None:
    code, out, _ = call("verify", shared_artifact)
    assert code == 0
    for name in ("adapter usual", "none after usual", "usual:0 after usual", "adapter one", "none after one"):
        assert f"ok     {name}: " in out
    assert out.endswith("all checks passed\n")


def test_verify_passes_on_a_merged_artifact(
    call: Call, tiny_checkpoint: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    write_artifact(tiny_checkpoint, tmp_path / "merged", merge=tiny_adapters["usual"])
    code, out, _ = call("verify", tmp_path / "merged", "--json")
    assert code == 0, out
    assert "logits 0" in out


def test_verify_fails_when_the_weights_are_not_those_of_the_reference(
    call: Call, tiny_checkpoint: Path, tiny_adapters: dict[str, Path], shared_artifact: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write_artifact(tiny_checkpoint, other, merge=tiny_adapters["usual"])
    shutil.copyfile(shared_artifact / "reference.safetensors", other / "reference.safetensors")
    rehash(other, "reference.safetensors")
    code, out, _ = call("verify", other)
    assert code == 1
    assert "FAILED logits 0: " in out
    assert "FAILED greedy 0: " in out


def rehash(folder: Path, name: str) -> None:
    """List a changed file as if it had been exported so."""
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    info = file_info(folder / name)
    data["files"][name] = {"bytes": info.bytes, "sha256": info.sha256}
    path.write_text(json.dumps(data))


# --- eval ---


def test_eval_scores_what_the_model_itself_answers(call: Call, shared_artifact: Path, tmp_path: Path) -> None:
    model = load(shared_artifact)
    prompts = ["a", "Straße 5", "東京 " * 20, "x" * 3]
    answers = [model.generate(prompt, adapter="usual", max_new_tokens=6).text for prompt in prompts]
    rows = [{"prompt": p, "completion": a} for p, a in zip(prompts, answers, strict=True) if a.strip()]
    data = lines(tmp_path / "d.jsonl", *rows, {"prompt": "a", "completion": "never this"})
    options = ["--adapter", "usual", "--max-new-tokens", 6, "--json"]
    code, out, err = call("eval", shared_artifact, data, *options)
    assert code == 0, err
    found = json.loads(out)
    assert found["n"] == len(rows) + 1
    assert found["exact_match"] == pytest.approx(len(rows) / (len(rows) + 1))
    assert "json_valid" not in found
    assert "accuracy" not in found
    base = json.loads(call("eval", shared_artifact, data, "--max-new-tokens", 6, "--json")[1])
    assert base["loss"] != found["loss"]


def test_eval_loss_is_the_mean_over_answer_tokens(call: Call, shared_artifact: Path, tmp_path: Path) -> None:
    data = lines(tmp_path / "d.jsonl", {"prompt": "a", "completion": "bc"}, {"prompt": "ä", "completion": "d"})
    found = json.loads(call("eval", shared_artifact, data, "--json")[1])
    model = load(shared_artifact)
    assert model.tokenizer is not None
    values: list[float] = []
    for prompt, completion in (("a", "bc"), ("ä", "d")):
        before = model.tokenizer.encode_chat([{"role": "user", "content": prompt}])
        answer = [*model.tokenizer.encode(completion, special=False), model.manifest.model.eos_token_ids[0]]
        values += list(model.score(before, answer))
    assert len(values) == 5
    assert found["loss"] == pytest.approx(-np.mean(values), rel=1e-4)


def test_eval_of_json_answers_adds_validity_and_fields(call: Call, shared_artifact: Path, tmp_path: Path) -> None:
    data = lines(tmp_path / "d.jsonl", *({"prompt": str(i), "completion": '{"n": "1"}'} for i in range(10)))
    found = json.loads(call("eval", shared_artifact, data, "--limit", 9, "--json")[1])
    assert found["n"] == 9
    assert {"exact_match", "loss", "json_valid", "field_f1"} <= set(found)


def test_eval_of_labels_chooses_among_those_of_the_file(call: Call, shared_artifact: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in (("a", "x"), ("b", "yy"), ("c", "zé"), ("d", "x"))]
    data = lines(tmp_path / "d.jsonl", *rows)
    found = json.loads(call("eval", shared_artifact, data, "--limit", 2, "--json")[1])
    model = load(shared_artifact)
    chosen = [model.generate(row["text"], choices=["x", "yy", "zé"]).text for row in rows[:2]]
    right = np.mean([c == row["label"] for c, row in zip(chosen, rows, strict=False)])
    assert (found["n"], found["labels"]) == (2, 3)
    assert found["accuracy"] == found["exact_match"] == right
    assert 0 <= found["macro_f1"] <= 1


def test_eval_of_plain_text_has_a_loss_alone(call: Call, shared_artifact: Path, tmp_path: Path) -> None:
    found = json.loads(call("eval", shared_artifact, lines(tmp_path / "d.jsonl", {"text": "Käse"}), "--json")[1])
    assert found["exact_match"] is None
    assert found["loss"] > 0


def test_eval_names_lines_that_cannot_be_read(call: Call, shared_artifact: Path, tmp_path: Path) -> None:
    data = lines(
        tmp_path / "d.jsonl", {"prompt": "a", "completion": "b"}, "{broken", {"prompt": "a" * 600, "completion": "b"}
    )
    code, out, err = call("eval", shared_artifact, data, "--json")
    assert code == 0
    assert json.loads(out)["skipped"] == 2
    assert "2 lines left out: line 2: not JSON" in err
    assert "line 3: " in err
    one_line(call("eval", shared_artifact, lines(tmp_path / "e.jsonl", "{broken")), "no usable row", "line 1: not JSON")
    one_line(call("eval", shared_artifact, tmp_path / "none.jsonl"), "none.jsonl")


# --- inspect and adapter ---


def test_inspect_describes_artifact_and_adapter(
    call: Call, shared_artifact: Path, tiny_adapters: dict[str, Path]
) -> None:
    code, out, _ = call("inspect", shared_artifact, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["total_bytes"] == sum(
        p.stat().st_size for p in shared_artifact.rglob("*") if p.is_file() and p.name != "manifest.json"
    )
    assert [(item["name"], item["rank"]) for item in found["adapters"]] == [("usual", 4), ("one", 1)]
    assert found["modules"]["q_proj"] == 2
    text = call("inspect", shared_artifact)[1]
    assert "tiny-llama (llama)" in text
    assert "weights.bin" in text
    found = json.loads(call("inspect", tiny_adapters["wide"], "--json")[1])
    assert (found["rank"], found["ranks"], found["modules"]) == (64, {"64": 4}, {"q_proj": 2, "down_proj": 2})
    assert found["parameters"] == 2 * 64 * (64 + 64 + 96 + 64)
    assert "64 (4 modules)" in call("inspect", tiny_adapters["wide"])[1]


def test_inspect_refuses_any_other_folder(call: Call, tmp_path: Path) -> None:
    one_line(call("inspect", tmp_path), "neither manifest.json nor adapter_config.json")


def test_adapters_come_and_go_by_command(call: Call, artifact: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", rank=2)
    assert call("adapter", "add", artifact, f"new={folder}")[0] == 0
    listed = json.loads(call("adapter", "list", artifact, "--json")[1])["adapters"]
    assert [(item["name"], item["rank"], item["receipt"]) for item in listed][-1] == ("new", 2, False)
    assert "new    2" in call("adapter", "list", artifact)[1]
    removed = json.loads(call("adapter", "remove", artifact, "new", "--json")[1])["removed"]
    assert removed["name"] == "new"
    one_line(call("adapter", "remove", artifact, "new"), "no adapter 'new'; it has: usual, one")
    one_line(call("adapter", "add", artifact, f"none={folder}"), "'none' cannot be used")
    one_line(call("adapter", "add", artifact, "new=nowhere"), "nowhere")


# --- bench ---


def test_bench_measures_what_the_contract_names(call: Call, shared_artifact: Path) -> None:
    arguments = ["bench", shared_artifact, "--adapter", "usual", "--adapter", "usual:0.5+one:0.5", "--rounds", 2]
    code, out, err = call(*arguments, "--threads", 1, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert set(found["decode_ms"]) == {"none", "usual", "usual:0.5+one:0.5"}
    for times in found["decode_ms"].values():
        assert 0 < times["p10"] <= times["median"] <= times["p90"]
    for key in ("prefill_tokens_per_s", "swap_ms", "load_ms", "peak_rss_mb"):
        assert found[key] > 0
