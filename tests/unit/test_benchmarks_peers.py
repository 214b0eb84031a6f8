import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as GgmlType
from gguf import GGUFReader, GGUFWriter, quants

from benchmarks.peers import figures, gguf_files, turns
from benchmarks.peers.figures import RATIOS, ratio_of, without_effect
from benchmarks.peers.fresh import instructions_by_object, run_command
from benchmarks.peers.limits import TokenBytes, least_ms
from benchmarks.peers.models import RANDOM_SHAPES, Shape, config_of, tensor_shapes, write_random_model
from benchmarks.peers.rounds import Plan, measure, rotate
from benchmarks.peers.turns import Subject, answer, prompt
from benchmarks.peers.worker import Worker, cpu_seconds_of
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import ConfigError
from edgelora.values import TokenizerFiles

TINY = Shape("tiny", "qwen2", 64, 64, 2, 4, 2, 96, 1e4, 1e-6)


class FakeEngine:
    """Counts what it is asked; every token is the length of the cache."""

    version = "fake 1"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def reset(self, label: str) -> None:
        self.calls.append(f"reset {label}")
        self.length = 0

    def prefill(self, ids: list[int]) -> None:
        self.calls.append(f"prefill {len(ids)}")
        self.length = len(ids)

    def step(self) -> int:
        self.length += 1
        return self.length

    def extra(self, name: str) -> list[float]:
        return {"switch": [1.5]}[name]


def test_a_decoding_turn_fills_the_context_and_times_only_what_was_asked_for() -> None:
    engine = FakeEngine()
    found = answer(engine, {"decode": 3, "subject": "base"})
    assert engine.calls == ["reset base", f"prefill {turns.CONTEXT}"]
    assert len(found["ms"]) == 3
    first = turns.CONTEXT + 1
    assert found["tokens"] == list(range(first, first + turns.UNTIMED_STEPS + 3))


def test_a_prefill_turn_starts_from_an_empty_cache() -> None:
    engine = FakeEngine()
    found = answer(engine, {"prefill": 512, "subject": "rank 16"})
    assert engine.calls == ["reset rank 16", "prefill 512"]
    assert len(found["ms"]) == 1


def test_extras_pass_through_and_memory_is_the_process_own() -> None:
    assert answer(FakeEngine(), {"extra": "switch"}) == {"values": [1.5]}
    assert answer(FakeEngine(), {"extra": "peak bytes"})["values"][0] > 1e6
    with pytest.raises(KeyError):
        answer(FakeEngine(), {"extra": "unknown"})


def test_the_prompt_is_fixed_and_of_common_tokens() -> None:
    assert prompt(3) == prompt(600)[:3]
    assert len(set(prompt(512))) == 512
    assert min(prompt(4096)) >= 5
    assert max(prompt(4096)) < 49_152


@pytest.mark.parametrize("name", ["python", "a) (b", "with 12 numbers 3"])
def test_processor_time_is_read_whatever_the_process_is_called(name: str) -> None:
    ticks = 100  # what SC_CLK_TCK is on every Linux
    line = f"42 ({name}) S 1 2 3 4 5 6 7 8 9 10 {3 * ticks} {2 * ticks} 0 0 20 0 1 0 100"
    assert cpu_seconds_of(line) == pytest.approx(5.0)


def test_another_subject_goes_first_in_every_round() -> None:
    assert list(rotate("abc", 1)) == ["b", "c", "a"]
    assert list(rotate("abc", 5)) == ["c", "a", "b"]


class FakeWorker:
    """Answers like a worker; busy while others have their turn if ``spins``."""

    def __init__(self, name: str, subjects: list[Subject], log: list[str], spins: bool = False) -> None:
        self.name, self.subjects, self.log, self.spins, self.used = name, tuple(subjects), log, spins, 0.0

    def ask(self, question: dict[str, object]) -> dict[str, object]:
        self.log.append(f"{question['subject']} {'prefill' if 'prefill' in question else 'decode'}")
        return {"ms": [1.0, 2.0, 9.0], "tokens": [7, 8]}

    def cpu_seconds(self) -> float:
        self.used += 10.0 if self.spins else 0.0
        return self.used


def test_turns_alternate_and_a_worker_that_spins_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.rounds._SETTLE_SECONDS", 0.0)
    log: list[str] = []
    quiet = FakeWorker("quiet", [Subject("a", "m"), Subject("rows", "m", ("x", "y"))], log)
    busy = FakeWorker("busy", [Subject("b", "m")], log, spins=True)
    found = measure([quiet, busy], Plan(rounds=2, prefill=16, steps=3))
    assert log[:5] == ["a prefill", "a decode", "rows decode", "b prefill", "b decode"]
    assert log[5:8] == ["rows decode", "b prefill", "b decode"]
    assert found.decode_ms == {"a": (2.0, 2.0), "rows": (2.0, 2.0), "b": (2.0, 2.0)}
    assert found.prefill_ms["rows"] == ()
    assert found.tokens["a"] == (7, 8)
    assert found.idle_share["quiet"] == 0.0
    assert found.idle_share["busy"] > 1.0


def test_a_worker_that_ends_is_told_by_name() -> None:
    with pytest.raises(ConfigError, match=r"the worker of broken ended with 1; its message is above"):
        Worker("broken", Path(sys.executable), "no_such_engine", [Subject("a", "m")], 1)


def test_a_worker_answers_line_by_line_and_what_engines_print_does_not_disturb(tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(
        "import sys; sys.path.insert(0, '.')\n"
        "from benchmarks.peers.turns import Opening, Subject, serve\n"
        "from tests.unit.test_benchmarks_peers import FakeEngine\n"
        "def open_engine(opening):\n"
        "    print('loading', opening.threads, opening.subjects[0].label)\n"
        "    assert opening == Opening(2, (Subject('a', 'm', ('x',), True),)), opening\n"
        "    return FakeEngine()\n"
        "serve(open_engine)\n",
        encoding="utf-8",
    )
    interpreter = tmp_path / "python"  # ignores `-m benchmarks.peers.engines.X` and runs the program
    interpreter.write_text(f"#!/bin/sh\nexec {sys.executable} {program}\n", encoding="ascii")
    interpreter.chmod(0o755)
    worker = Worker("fake", interpreter, "any", [Subject("a", "m", ("x",), True)], 2)
    assert worker.version == "fake 1"
    assert len(worker.ask({"decode": 2, "subject": "a"})["ms"]) == 2
    assert worker.cpu_seconds() > 0
    worker.close()


def _turns(**decode: tuple[float, ...]) -> dict[str, object]:
    return {"decode_ms": decode, "prefill_ms": {}, "tokens": {}, "idle_share": {"edgelora": 0.01}}


def test_a_ratio_is_made_round_by_round() -> None:
    ratio = next(item for item in RATIOS if item.over == figures.RANK_16 and item.under == figures.NO_SLOTS)
    drifting = _turns(**{figures.RANK_16: (12.0, 24.0, 48.0), figures.NO_SLOTS: (10.0, 20.0, 40.0)})
    found = ratio_of(ratio, drifting)
    assert found is not None
    assert (found.median, found.p10, found.p90) == pytest.approx((1.2, 1.2, 1.2))
    assert ratio_of(ratio, _turns(**{figures.RANK_16: (12.0,)})) is None


def test_eight_rows_count_eight_tokens() -> None:
    ratio = next(item for item in RATIOS if item.under == figures.ROWS)
    found = ratio_of(ratio, _turns(**{figures.RANK_16: (10.0,), figures.ROWS: (20.0,)}))
    assert found is not None
    assert found.median == pytest.approx(4.0)


def test_an_adapter_that_changes_no_token_is_named() -> None:
    found = _turns()
    found["tokens"] = {
        figures.RANK_16: [1, 2],
        figures.NO_SLOTS: [1, 3],
        figures.GENAI: [4, 5],
        figures.GENAI_RANK_16: [4, 5],
    }
    assert without_effect(found) == [figures.GENAI_RANK_16]


CALLGRIND = """\
events: Ir
ob=(1) /usr/bin/python3
fl=(1) a.c
fn=(1) main
16 400
cob=(2) /site/onnxruntime/onnxruntime.so
cfi=(2) b.c
cfn=(2) run
calls=1 50
16 9000
ob=(2)
fl=(2)
fn=(2)
+3 7000
* 2000
ob=(1)
fn=(3) rest
-2 100
totals: 9500
"""


def test_instructions_are_counted_where_they_are_spent() -> None:
    found = instructions_by_object(io.StringIO(CALLGRIND))
    assert found == {"/usr/bin/python3": 500, "/site/onnxruntime/onnxruntime.so": 9000}


def test_the_least_time_is_all_bytes_over_the_bandwidth() -> None:
    assert least_ms(TokenBytes(70_000_000, 20_000_000, 10_000_000), 10e9) == pytest.approx(10.0)


def test_a_command_is_measured_without_the_memory_of_the_one_that_measures(capfd: pytest.CaptureFixture[str]) -> None:
    held = np.ones(100_000_000, np.uint8)
    small = run_command([sys.executable, "-c", "print('said')"])
    large = run_command([sys.executable, "-c", "x = bytearray(b'1' * 150_000_000)"])
    assert small.peak_bytes < held.nbytes < large.peak_bytes
    assert small.seconds > 0
    assert "said" in capfd.readouterr().err
    with pytest.raises(ConfigError, match=r"`.* -c exit\(3\)` failed; its message is above"):
        run_command([sys.executable, "-c", "exit(3)"])


def test_random_models_have_the_size_of_their_namesakes() -> None:
    def parameters(name: str) -> int:
        return sum(int(np.prod(shape)) for shape in tensor_shapes(RANDOM_SHAPES[name]).values())

    assert parameters("qwen2.5-0.5b") == 494_032_768
    assert parameters("llama-3.2-1b") == 1_235_814_400


def test_a_random_model_is_a_checkpoint_that_opens(tmp_path: Path) -> None:
    vocab = {"type": "BPE", "vocab": {"</s>": 0}, "merges": []}
    tokenizer = TokenizerFiles(json.dumps({"version": "1.0", "model": vocab}), None, None, "</s>", None, None)
    write_random_model(TINY, tokenizer, tmp_path / "tiny")
    checkpoint = open_checkpoint(str(tmp_path / "tiny"))
    assert checkpoint.config["model_type"] == config_of(TINY)["model_type"] == "qwen2"
    assert checkpoint.shape("model.layers.1.self_attn.k_proj.bias") == (32,)
    assert set(checkpoint.names()) == tensor_shapes(TINY).keys()


def test_names_of_gguf_tensors() -> None:
    assert gguf_files.gguf_name("model.layers.7.mlp.down_proj.weight") == "blk.7.ffn_down.weight"
    assert gguf_files.gguf_name("model.layers.0.self_attn.q_proj.bias") == "blk.0.attn_q.bias"
    assert gguf_files.gguf_name("model.norm.weight") == "output_norm.weight"
    with pytest.raises(KeyError):
        gguf_files.gguf_name("lm_head.weight")


def test_a_q4_0_copy_keeps_everything_but_the_type_of_q4_1(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((8, 64)).astype(np.float32)
    writer = GGUFWriter(tmp_path / "in.gguf", "llama")
    writer.add_block_count(1)
    writer.add_token_list(["a", "ü", "<s>"])
    writer.add_tensor("blk.0.attn_q.weight", quants.quantize(values, GgmlType.Q4_1), raw_dtype=GgmlType.Q4_1)
    writer.add_tensor("token_embd.weight", quants.quantize(values, GgmlType.Q8_0), raw_dtype=GgmlType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    gguf_files.write_q4_0_copy(tmp_path / "in.gguf", tmp_path / "out.gguf")
    reader = GGUFReader(tmp_path / "out.gguf")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert reader.fields["tokenizer.ggml.tokens"].contents() == ["a", "ü", "<s>"]
    assert tensors["token_embd.weight"].tensor_type == GgmlType.Q8_0
    assert tensors["blk.0.attn_q.weight"].tensor_type == GgmlType.Q4_0
    found = quants.dequantize(tensors["blk.0.attn_q.weight"].data, GgmlType.Q4_0)
    assert np.abs(found - values).max() < 0.6  # two roundings to 16 steps of at most 6 standard deviations


def test_a_random_base_has_the_shapes_that_the_head_counts_say(tmp_path: Path) -> None:
    gguf_files.write_random_base(TINY, tmp_path / "base.gguf")
    reader = GGUFReader(tmp_path / "base.gguf")
    shapes = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    assert shapes["blk.1.attn_k.weight"] == [64, 32]
    assert shapes["blk.0.ffn_down.weight"] == [64, 64]
    assert reader.fields["qwen2.attention.head_count_kv"].contents() == 2
