"""``edgelora export`` as it is typed: what it says, what it writes, and the line for each bad input."""

import dataclasses
import json
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from edgelora.checkpoint.context_length import DEFAULT_CONTEXT, choose_context_length
from edgelora.checkpoint.folder import FolderCheckpoint, open_checkpoint
from edgelora.cli import main
from edgelora_runtime import InputError, load
from tests.tiny import write_adapter, write_checkpoint


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("command") / "base"))


def test_export_reports_what_it_wrote(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    out = tmp_path / "a"
    assert main(["export", base, "-o", str(out), "--adapter", f"x={adapter}", "--genai", "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["adapters"] == ["x"]
    unlisted = ("manifest.json", "options.json")
    written = [path for path in out.rglob("*") if path.is_file() and path.name not in unlisted]
    assert payload["bytes"] == sum(path.stat().st_size for path in written)
    assert 0.05 < payload["quantization"]["mean_relative_error"] < 0.15
    assert (out / "genai_config.json").is_file()
    assert (out / "adapters" / "x" / "adapter.onnx_adapter").is_file()
    assert main(["verify", str(out)]) == 0


def test_export_says_what_rounding_costs_in_answers(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for label in ("int8", "int4", "int2", "fp16", "none"):
        out = tmp_path / label
        assert main(["export", base, "-o", str(out), "--quant", label, "--json"]) == 0
        found[label] = json.loads(capsys.readouterr().out)["rounding"]
        assert load(out).manifest.quantization.get("rounding") == found[label]
        assert main(["verify", str(out)]) == 0
        capsys.readouterr()
    assert found["none"] is None
    assert all(item["positions"] >= 500 for item in found.values() if item)
    assert found["fp16"]["kl"] < 1e-4 < found["int8"]["kl"] < found["int4"]["kl"] < found["int2"]["kl"]
    assert found["fp16"]["kl_device"] < 1e-6 < found["int8"]["kl_device"] < found["int4"]["kl"]
    assert found["int8"]["top1_agreement"] > 0.9 > found["int2"]["top1_agreement"]
    assert main(["export", base, "-o", str(tmp_path / "told"), "--quant", "int8"]) == 0
    assert "nats from the float model" in capsys.readouterr().out


def test_what_rounding_costs_is_measured_from_what_was_rounded(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A merged adapter is part of the float model; the second rounding of web-wasm is part of the cost."""
    adapter = write_adapter(tmp_path / "adapter", size=0.5)
    merged = ["--merge", str(adapter), "--quant", "fp16"]
    for options in (merged, ["--quant", "int8", "--target", "web-wasm"]):
        assert main(["export", base, "-o", str(tmp_path / "a"), "--overwrite", "--json", *options]) == 0
        assert json.loads(capsys.readouterr().out)["rounding"]["kl"] < 0.01


@pytest.mark.parametrize("length", [16, 100, 512])
def test_a_context_length_is_what_the_artifact_holds(
    base: str, length: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    assert main(["export", base, "-o", str(out), "--quant", "int8", "--context-length", str(length)]) == 0
    assert ("the model knows 512" in capsys.readouterr().out) == (length < 512)
    assert main(["verify", str(out)]) == 0, capsys.readouterr().out
    model = load(out)
    assert model.manifest.model.context_length == length
    assert len(model.logits(list(range(3, 10)) * (length // 7), adapter="none")) == length // 7 * 7
    with pytest.raises(InputError, match=f"the context length of .* is {length}"):
        model.logits([5] * (length + 1), adapter="none")


def test_the_default_context_is_the_models_own_up_to_a_limit(base: str) -> None:
    checkpoint = open_checkpoint(base)
    assert choose_context_length(checkpoint) == 512
    long = dataclasses.replace(checkpoint, config={**checkpoint.config, "max_position_embeddings": 131072})
    assert choose_context_length(long) == DEFAULT_CONTEXT
    assert choose_context_length(long, 131072) == 131072


def test_slots_for_some_modules_take_adapters_of_these_alone(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attention = write_adapter(tmp_path / "attention", targets=("q_proj", "v_proj"))
    out = tmp_path / "a"
    assert main(["export", base, "-o", str(out), "--slots", "q_proj, v_proj", "--adapter", f"x={attention}"]) == 0
    assert main(["verify", str(out)]) == 0
    capsys.readouterr()
    assert main(["inspect", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["modules"] == {"k_proj": 2, "q_proj": 2, "v_proj": 2}
    everything = write_adapter(tmp_path / "everything")
    assert main(["adapter", "add", str(out), f"y={everything}"]) == 2
    said = capsys.readouterr().err
    assert "6 of its 14 modules are in this artifact" in said
    assert "mlp.down_proj" in said


def test_export_tells_people_how_far_the_weights_moved(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", base, "-o", str(tmp_path / "a"), "--quant", "int8"]) == 0
    said = capsys.readouterr().out
    assert "rounding: 0." in said
    assert "bits per weight" in said
    assert main(["export", base, "-o", str(tmp_path / "b"), "--quant", "none"]) == 0
    assert "rounding" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--target", "toaster"], "unknown target 'toaster'; choose one of cpu, mobile"),
        (["--quant", "int3"], "--quant is 'int3'; choose one of none, fp16"),
        (["--block-size", "48"], "block_size is 48; use 16, 32"),
        (["--accuracy-level", "2"], "--accuracy-level is 2; use 0 (float32 activations) or 4"),
        (["--kv-cache", "int4"], "--kv-cache is 'int4'; choose float32 or int8"),
        (["--kv-cache", "int8", "--target", "web-webgpu"], "the target web-webgpu cannot keep the KV cache in 8 bits"),
        (["--kv-cache", "int8", "--genai"], "onnxruntime-genai's files cannot keep the KV cache in 8 bits"),
        (["--context-length", "513"], "has positions for 512 tokens, so give 16 to 512"),
        (["--context-length", "0"], "--context-length is 0"),
        (["--slots", "q_proj,x_proj"], "--slots: no linear of the layers is called x_proj; there are down_proj, "),
        (["--slots", "q_proj", "--merge", "nowhere"], "--merge and --slots exclude each other"),
        (["--adapter", "no-equals-sign"], "found 'no-equals-sign', expected NAME=ADAPTER_DIR"),
        (["--adapter", "x=nowhere"], "nowhere"),
        (["--merge", "nowhere", "--adapter", "x=nowhere"], "--merge and --adapter exclude each other"),
    ],
)
def test_bad_options_end_in_one_line(
    base: str, options: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", base, "-o", str(tmp_path / "a"), *options]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert line in said[0]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_model_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "nothing.gguf"), "-o", str(tmp_path / "a")]) == 2
    assert "nothing.gguf" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_onnxruntime_does_not_run_is_refused_and_leaves_nothing(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgelora.checkpoint.config_limits._check_head", lambda config, head_dim: []
    )  # as a size nobody knew of
    odd = write_checkpoint(tmp_path / "odd")
    config = json.loads((odd / "config.json").read_text()) | {"head_dim": 24}
    LlamaForCausalLM(LlamaConfig(**config)).save_pretrained(odd)
    assert main(["export", str(odd), "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert "onnxruntime does not run what was made of odd" in told[-1]
    assert len(told[-1]) < 500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd"]


@pytest.mark.parametrize(
    "command",
    [
        ["export", "BASE", "-o", "OUT"],
        ["quantize", "BASE", "-o", "OUT"],
        ["train", "BASE", "ROWS", "-o", "OUT"],
        ["recover", "BASE", "ROWS", "-o", "OUT"],
        ["compare", "BASE", "ROWS", "--eval-data", "ROWS", "-o", "OUT"],
    ],
    ids=lambda command: str(command[0]),
)
def test_every_command_refuses_a_base_before_any_work(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n' * 4)
    base = write_checkpoint(tmp_path / "base")
    path = base / "config.json"
    usual = json.loads(path.read_text())
    places = {"BASE": str(base), "ROWS": str(rows), "OUT": str(tmp_path / "out")}
    monkeypatch.setattr(FolderCheckpoint, "read", None)  # whoever needs a weight falls over
    for changes, reason in (
        ({"model_type": "phi"}, "architecture 'phi' is not supported"),
        ({"head_dim": 8}, "heads of 8 values, onnxruntime rotates multiples of 16"),
        ({"intermediate_size": 1000}, "does not fit its config"),
    ):
        path.write_text(json.dumps({**usual, **changes}))
        assert main([places.get(part, part) for part in command]) == 2
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert reason in told
        assert len(told) < 500
        assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "rows.jsonl"]
