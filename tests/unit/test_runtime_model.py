"""The model on a tiny artifact: caches, adapters, batches, streams, refusals; knows nothing about exporting."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgelora_runtime.session as session_module
from edgelora_runtime import AdapterError, ArtifactError, InputError, Model, load
from edgelora_runtime.manifest import file_info
from tests.opened import open_parts

CONFORMANCE = Path(__file__).resolve().parents[2] / "runtime" / "conformance"
ARTIFACT = CONFORMANCE / "tiny-int4"
CONTEXT = 320
LONG = [6 + (7 * index) % 370 for index in range(300)]


@pytest.fixture
def model() -> Model:
    return load(ARTIFACT, threads=1)


def fresh(ids: list[int], adapter: str) -> np.ndarray:
    return load(ARTIFACT, threads=1).logits(ids, adapter=adapter)


def test_importing_and_answering_needs_no_heavy_package() -> None:
    program = (
        "import sys, edgelora_runtime as r\n"
        "light = [m for m in ('torch', 'onnx', 'tokenizers', 'jinja2', 'transformers') if m in sys.modules]\n"
        f"sys.modules['tokenizers'] = sys.modules['jinja2'] = None\n"
        f"m = r.load({str(ARTIFACT)!r})\n"
        "print(light, m.generate_ids([7, 8], adapter='one', max_new_tokens=2))\n"
        "try:\n    m.generate('x')\nexcept r.InputError as error:\n    print(error)\n"
    )
    path = {"PYTHONPATH": str(CONFORMANCE.parent / "python")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[] [")
    assert "pip install 'edgelora-runtime[text]'" in done.stdout


def test_switching_adapters_leaks_nothing_of_the_old_cache() -> None:
    parts = open_parts(ARTIFACT, threads=1)
    model = parts.model
    ids = LONG[:40]
    expected = {spec: fresh(ids, spec) for spec in ("none", "four", "one:0.5+eight:0.5")}
    for spec in ("none", "four", "none", "one:0.5+eight:0.5", "four", "one:0.5+eight:0.5", "none"):
        last = model.logits(ids, adapter=spec, positions=[39])  # could go on from what the adapter before left
        np.testing.assert_allclose(last[0], expected[spec][39], atol=1e-4)
        model.generate_ids(ids, adapter=spec, max_new_tokens=3)  # leaves the whole prompt in the cache
        np.testing.assert_allclose(model.logits(ids, adapter=spec), expected[spec], atol=1e-4)
    # The proof that the cache matters: had the prompt's keys survived the switch, the last logits would be these.
    model.logits(ids[:-1], adapter="four")
    parts.session.prefixes.add(parts.adapters.find("none"), parts.session.keep_prefix())
    leaked = model.logits(ids, adapter="none", positions=[39])
    assert np.abs(leaked - expected["none"][39]).max() > 0.1


def test_loading_another_adapter_under_the_same_name_drops_its_cache_and_blends(model: Model, tmp_path: Path) -> None:
    ids = LONG[:12]
    before = model.logits(ids, adapter="one")
    blended = model.logits(ids, adapter="one:0.5+four:0.5")
    model.load_adapter("one", ARTIFACT / "adapters" / "eight")
    after = model.logits(ids, adapter="one")
    assert np.abs(after - before).max() > 0.1
    np.testing.assert_allclose(after, fresh(ids, "eight"), atol=1e-4)
    assert np.abs(model.logits(ids, adapter="one:0.5+four:0.5") - blended).max() > 0.1


def test_the_common_beginning_of_two_calls_is_computed_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []
    run = session_module.Session._run

    def counting(self, ids, counts, positions, first=0):  # type: ignore[no-untyped-def]
        fed.append(ids.shape[1])
        return run(self, ids, counts, positions, first)

    monkeypatch.setattr(session_module.Session, "_run", counting)
    first = model.generate_ids(LONG[:100], adapter="four", max_new_tokens=4)
    again = model.generate_ids(LONG[:100], adapter="four", max_new_tokens=4)
    longer = [*LONG[:100], *first[:2], 9, 9, 9]
    found = model.logits(longer, adapter="four", positions=[len(longer) - 1])
    assert fed == [100, 1, 3]
    assert again == first
    np.testing.assert_allclose(found[0], fresh(longer, "four")[-1], atol=1e-4)
    model.logits(LONG[:50], adapter="four", positions=[10])  # needs logits inside the common beginning
    assert fed[-1] == 40


def test_choices_compute_the_prompt_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []
    run = session_module.Session._run

    def counting(self, ids, counts, positions, first=0):  # type: ignore[no-untyped-def]
        fed.append(ids.shape[1])
        return run(self, ids, counts, positions, first)

    monkeypatch.setattr(session_module.Session, "_run", counting)
    choices = ["Hello there", "Hello world", "東京"]
    found = model.generate("Zürich " * 20, adapter="four", choices=choices)
    assert fed[0] > 40
    assert sum(fed[1:]) < 30
    assert model.tokenizer is not None
    prompt = model.tokenizer.encode_chat([{"role": "user", "content": "Zürich " * 20}])
    ends = model.manifest.model.eos_token_ids
    for choice, score in zip(choices, found.choice_scores or (), strict=True):
        ids = model.tokenizer.encode(choice, special=False)
        apart = load(ARTIFACT)
        end = np.logaddexp.reduce([apart.score(prompt, [*ids, token], adapter="four")[-1] for token in ends])
        assert score == pytest.approx(apart.score(prompt, ids, adapter="four").sum() + end, abs=1e-3)


def test_the_cache_grows_in_steps_up_to_the_context() -> None:
    parts = open_parts(ARTIFACT, threads=1)
    model = parts.model
    model.generate_ids(LONG[:5], max_new_tokens=2)
    assert parts.session.capacity == 256
    answer = model.generate_ids(LONG, max_new_tokens=500, repetition_penalty=1.0)
    assert parts.session.capacity == CONTEXT
    assert len(answer) <= CONTEXT - len(LONG) + 1
    assert model.generate_ids(LONG + LONG[:20], max_new_tokens=9, temperature=1.0, seed=3) != []
    np.testing.assert_allclose(model.logits(LONG)[:50], fresh(LONG[:50], "none"), atol=1e-3)


def test_long_prompts_in_pieces_give_the_same_logits(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.logits(LONG, adapter="eight", positions=[0, 63, 64, 299])
    monkeypatch.setattr(session_module, "PREFILL_CHUNK", 64)
    found = load(ARTIFACT).logits(LONG, adapter="eight", positions=[0, 63, 64, 299])
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_decode_step_reuses_its_buffers() -> None:
    parts = open_parts(ARTIFACT, threads=1)
    session, active = parts.session, np.array([True])
    parts.model.logits([7, 8, 9])
    first = session.decode(np.array([5]), active)
    second = session.decode(np.array([6]), active)
    assert np.shares_memory(first, second)
    assert session.tokens == [7, 8, 9, 5, 6]
    expected = fresh([7, 8, 9, 5, 6], "none")[-1]
    np.testing.assert_allclose(second[0], expected, atol=1e-4)


def test_rows_of_a_batch_answer_as_they_do_alone(model: Model) -> None:
    prompts = [LONG[:33], [9], LONG[5:12], LONG[:2]]
    adapters = ["four", "none", "one:2+eight:-1", "one"]
    together = model.generate_ids(prompts, adapter=adapters, max_new_tokens=20)
    assert together == [
        load(ARTIFACT).generate_ids(ids, adapter=spec, max_new_tokens=20)
        for ids, spec in zip(prompts, adapters, strict=True)
    ]
    assert model.generate_ids(prompts[:1], adapter=["four"], max_new_tokens=20) == together[:1]
    assert model.generate_ids(prompts[0], adapter="four", max_new_tokens=20) == together[0]


def test_more_prompts_than_rows_fit_are_all_answered(model: Model) -> None:
    prompts = [f"number {index}" for index in range(20)]
    found = model.generate(prompts, raw=True, max_new_tokens=4, adapter=["four", "none"] * 10)
    assert len(found) == 20
    for index in (0, 15, 16, 19):
        alone = load(ARTIFACT).generate(prompts[index], raw=True, max_new_tokens=4, adapter=["four", "none"][index % 2])
        assert found[index] == alone


def test_what_is_no_number_is_refused_and_nothing_goes_on_from_it(model: Model) -> None:
    prompt, vast = LONG[:9], "one:1e38"
    expected = model.generate_ids(prompt, adapter="one", max_new_tokens=8)
    assert vast not in model.adapters
    calls = (
        lambda: model.generate_ids(prompt, adapter=vast),
        lambda: model.generate_ids([prompt, prompt[:4]], adapter=["none", vast]),
        lambda: model.logits(prompt, adapter=vast),
        lambda: model.score(prompt, [7, 8], adapter=vast),
        lambda: model.generate("yes", adapter=vast, choices=["no", "maybe"]),
    )
    for call in calls:
        with pytest.raises(
            ArtifactError, match=r"^base computed nan where a number is due; give adapters smaller weigh"
        ):
            call()
        assert model.generate_ids(prompt, adapter="one", max_new_tokens=8) == expected


def test_set_adapter_is_the_default_and_is_bound(model: Model) -> None:
    expected = model.generate("dog", adapter="four", max_new_tokens=6)
    model.set_adapter("four")
    assert model.adapter == "four"
    assert model.generate("dog", max_new_tokens=6) == expected
    assert model.generate("dog", max_new_tokens=6, adapter="none") != expected


def test_a_call_during_a_stream_ends_the_stream_with_an_error(model: Model) -> None:
    pieces = model.generate("Zürich", raw=True, stream=True, max_new_tokens=60)
    next(iter(pieces))
    model.generate_ids([5, 6], max_new_tokens=1)
    with pytest.raises(InputError, match="another call"):
        list(pieces)


def test_scores_are_log_probabilities(model: Model) -> None:
    logits = fresh([7, 8, 9, 10], "four").astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.log(probabilities[[1, 2], [9, 10]])
    np.testing.assert_allclose(model.score([7, 8], [9, 10], adapter="four"), expected, atol=1e-4)
    assert model.score([7], []).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.generate("x", adapter="fuor"), AdapterError, r"'fuor'.*one.*four.*eight.*did you mean 'four'"),
        (lambda m: m.generate("x", adapter="a:b"), AdapterError, "SPEC"),
        (lambda m: m.set_adapter("nobody"), AdapterError, "'nobody'"),
        (lambda m: m.generate([]), InputError, "batch is empty"),
        (lambda m: m.generate_ids([]), InputError, "no tokens"),
        (lambda m: m.generate_ids([[1], []]), InputError, "no tokens"),
        (lambda m: m.generate(["a", "b"], adapter=["one"]), InputError, "1 adapters for 2 prompts"),
        (lambda m: m.generate("x " * 500), InputError, r"tokens, the context length of .* is 320"),
        (lambda m: m.generate_ids([1, 384]), InputError, "0 to 383"),
        (lambda m: m.generate_ids([1, -1]), InputError, "0 to 383"),
        (lambda m: m.generate_ids([1.5]), InputError, "whole numbers"),
        (lambda m: m.generate(3), InputError, "expected text"),
        (lambda m: m.generate("x", temperature=-1), InputError, "temperature"),
        (lambda m: m.generate("x", max_new_tokens=0), InputError, "max_new_tokens is 0"),
        (lambda m: m.generate("x", stop=[""]), InputError, "not empty"),
        (lambda m: m.generate("x", choices=[]), InputError, "at least one string"),
        (lambda m: m.generate("x", choices=["a", "a"]), InputError, "all different"),
        (lambda m: m.generate("x", choices=["a"], stop="b"), InputError, "exclude"),
        (lambda m: m.generate("x", choices=["a"], process_logits=print), InputError, "and process_logits exclude"),
        (lambda m: m.generate("x", schema=[]), InputError, "schema is an empty list"),
        (lambda m: m.generate("x", regex=()), InputError, "regex is an empty list"),
        (lambda m: m.generate("x", process_logits=[]), InputError, "process_logits is an empty list"),
        (lambda m: m.generate("x", choices=["a"], stream=True), InputError, "stream"),
        (lambda m: m.generate(["x"], stream=True), InputError, "stream"),
        (lambda m: m.generate("x", choices=["y" * 900]), InputError, "longest choice"),
        (lambda m: m.chat([{"role": "robot", "content": "x"}]), InputError, "refuses these messages"),
        (lambda m: m.logits([1, 2], positions=[2]), InputError, "indices from 0 to 1"),
        (lambda m: m.score([], [1]), InputError, "prompt_ids is empty"),
        (lambda m: m.load_adapter("a+b", ARTIFACT / "adapters" / "one"), AdapterError, "adapter name"),
        (lambda m: m.load_adapter("x", ARTIFACT), AdapterError, r"no adapter_config\.json"),
        (lambda m: m.load_adapter("x", CONFORMANCE / "tiny-float" / "adapters" / "four"), AdapterError, "does not fit"),
    ],
)
def test_bad_input_is_refused_and_the_model_goes_on(model: Model, call, error, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call(model)
    assert len(model.generate_ids([7, 8], max_new_tokens=3)) <= 3


def test_damaged_artifacts(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ARTIFACT, tmp_path / "copy"))
    manifest = (copy / "manifest.json").read_text()

    def flip(name: str) -> None:
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)

    flip("tokenizer.json")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: sha256"):
        load(copy)
    flip("tokenizer.json")
    (copy / "weights.bin").write_bytes((copy / "weights.bin").read_bytes()[:-5])
    with pytest.raises(ArtifactError, match=r"weights\.bin: \d+ bytes"):
        load(copy)
    shutil.copy(ARTIFACT / "weights.bin", copy)
    (copy / "manifest.json").write_text(manifest.replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ArtifactError, match="newer"):
        load(copy)
    fewer = json.loads(manifest)
    fewer["slots"].pop()
    (copy / "manifest.json").write_text(json.dumps(fewer))
    with pytest.raises(ArtifactError, match="is unknown; "):
        load(copy)
    broken = json.loads(manifest)
    (copy / "decoder.onnx").write_bytes(b"nothing")
    broken["files"]["decoder.onnx"] = dataclasses.asdict(file_info(copy / "decoder.onnx"))
    (copy / "manifest.json").write_text(json.dumps(broken))
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        load(copy)
    with pytest.raises(ArtifactError, match="is not a folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="threads is 0"):
        load(ARTIFACT, threads=0)


def test_an_artifact_without_text_speaks_token_ids(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ARTIFACT, tmp_path / "copy"))
    data = json.loads((copy / "manifest.json").read_text())
    data["tokenizer"] = None
    (copy / "manifest.json").write_text(json.dumps(data))
    model = load(copy)
    assert model.tokenizer is None
    assert model.generate_ids([7, 8], max_new_tokens=2) == load(ARTIFACT).generate_ids([7, 8], max_new_tokens=2)
    with pytest.raises(InputError, match="without a tokenizer"):
        model.generate("x")
