import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.errors import AdapterError, ConfigError, InputError
from edgelora.evaluation.ask_adapters import ask_artifact, ask_model
from edgelora.evaluation.asked import Asked
from edgelora.evaluation.interference import BLEND, NONE, A, B, Question, measure_interference
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.training.finish_receipt import make_receipt
from edgelora_runtime import load
from edgelora_runtime.receipt import read_receipt
from edgelora_runtime.sampling import log_softmax
from tests.tiny import write_adapter

CONFORMANCE = Path(__file__).resolve().parents[2] / "runtime" / "conformance"
GRID = functools.partial(plan_grid, plan=parse_quant("int4"))
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> tuple[Path, Path]:
    folder, checkpoint = tmp_path_factory.mktemp("pair"), open_checkpoint(str(tiny_checkpoint))
    found = write_adapter(folder / "a", seed=51, size=0.05), write_adapter(folder / "b", rank=2, seed=52, size=0.05)
    for adapter in found:
        make_receipt(checkpoint, adapter, GRID)
    return found


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("rows")
    for name, words in (("a", ("one", "two", "drei")), ("b", ("rot", "grün"))):
        lines = [{"prompt": f"say {word}", "completion": word.upper()} for word in words]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder / "a.jsonl", folder / "b.jsonl"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["adapter", "interference", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_figures_are_means_over_positions() -> None:
    """Two tokens to choose from, by hand."""
    answers = {NONE: [[0.5, 0.5]], A: [[0.9, 0.1]], B: [[0.2, 0.8]], BLEND: [[0.5, 0.5], [0.4, 0.6]]}
    first, second = Question((1, 2), (1,)), Question((3, 4), (0, 1))

    def ask(question: Question, who: str) -> np.ndarray:
        count = len(question.positions)
        return np.log(np.array((answers[who] * count)[-count:]))

    found = measure_interference(ask, {A: [first, second], B: [first]})
    far, near = (0.9 * np.log(0.9 / p) + 0.1 * np.log(0.1 / (1 - p)) for p in (0.4, 0.5))
    assert (found.a.prompts, found.a.positions) == (2, 3)
    assert found.a.kl == pytest.approx((2 * far + near) / 3)
    assert found.a.largest_kl == pytest.approx(far)
    assert found.a.effect == pytest.approx(near)
    assert found.a.top_changed == pytest.approx(2 / 3)
    assert found.a.share_lost == pytest.approx(found.a.kl / near)
    assert found.b.top_changed == 0


def test_an_artifact_is_asked_as_anybody_would_ask_it(
    call: Call, shared_artifact: Path, pair: tuple[Path, Path], rows: tuple[Path, Path]
) -> None:
    code, said, err = call(
        shared_artifact, "usual", f"{pair[1]}:0.5", "--prompts", rows[0], "--prompts", rows[1], "--limit", 2, "--json"
    )
    assert (code, err) == (0, "")
    told = json.loads(said)
    assert (told["a"]["prompts"], told["b"]["prompts"]) == (2, 2)
    model = load(shared_artifact)
    model.load_adapter("b", pair[1])
    kls, changed = [], 0
    assert model.tokenizer is not None
    for word in ("one", "two"):
        prompt = model.tokenizer.encode_chat([{"role": "user", "content": f"say {word}"}])
        ids = [*prompt, *model.tokenizer.encode(word.upper())]
        alone, blend = (
            log_softmax(model.logits(ids, adapter=spec))[len(prompt) - 1 :] for spec in ("usual", "usual+b:0.5")
        )
        kls += (np.exp(alone) * (alone - blend)).sum(axis=1).tolist()
        changed += int((alone.argmax(1) != blend.argmax(1)).sum())
    assert told["a"]["positions"] == len(kls)
    assert told["a"]["kl"] == pytest.approx(float(np.mean(kls)), rel=1e-4)
    assert told["a"]["largest_kl"] == pytest.approx(max(kls), rel=1e-4)
    assert told["a"]["top_changed"] == pytest.approx(changed / len(kls))
    assert told["a"]["share_lost"] == pytest.approx(told["a"]["kl"] / told["a"]["effect"])


def test_a_base_model_answers_as_its_artifact_does(
    call: Call, tiny_checkpoint: Path, shared_artifact: Path, pair: tuple[Path, Path], rows: tuple[Path, Path]
) -> None:
    for options in ([], ["--prompts", rows[0]]):
        found = [
            json.loads(call(where, *more, *options, "--json")[1])
            for where, more in (
                (tiny_checkpoint, [f"{pair[0]}:0.7", f"{pair[1]}:0.4"]),
                (shared_artifact, [f"{pair[0]}:0.7", f"{pair[1]}:0.4"]),
            )
        ]
        for letter in ("a", "b"):
            one, other = found[0][letter], found[1][letter]
            assert (one["prompts"], one["positions"]) == (other["prompts"], other["positions"])
            assert one["kl"] == pytest.approx(other["kl"], rel=0.02)
            assert one["effect"] == pytest.approx(other["effect"], rel=0.02)
    text = call(tiny_checkpoint, *pair)[1]
    assert text.count("\n") == 2
    assert "3 prompts, 3 tokens: the blend is " in text
    assert "% of top tokens change" in text


def test_a_blend_of_nothing_disturbs_nobody(shared_artifact: Path, pair: tuple[Path, Path]) -> None:
    found = ask_artifact(shared_artifact, f"{pair[0]}:1", f"{pair[1]}:0", Asked())
    assert found.a.kl == pytest.approx(0, abs=1e-6)
    assert found.a.top_changed == 0
    assert found.b.kl > 0.01


def test_a_merged_adapter_is_asked_in_the_place_of_the_blend(
    call: Call, shared_artifact: Path, tiny_checkpoint: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "both"
    assert main(["adapter", "merge", *map(str, pair), "--method", "cat", "-o", str(out)]) == 0
    call(shared_artifact, *pair)
    for where in (shared_artifact, tiny_checkpoint):
        merged, blend = (json.loads(call(where, *pair, *more, "--json")[1]) for more in (["--merged", out], []))
        assert merged["a"]["kl"] == pytest.approx(blend["a"]["kl"], rel=1e-2)
    assert f"{out} is " in call(shared_artifact, *pair, "--merged", out)[1]


def test_what_cannot_be_asked_is_refused(
    call: Call, shared_artifact: Path, tiny_checkpoint: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    assert read_receipt(shared_artifact / "adapters" / "usual") is None
    code, said, err = call(shared_artifact, "usual", "one")
    assert (code, said, err.count("\n")) == (2, "", 1)
    assert "usual has no probes in a receipt; give rows to ask with --prompts" in err
    assert "leave it out" in call(shared_artifact, *pair, "--quant", "int4")[2]
    with pytest.raises(ConfigError, match="found 3 files of prompts"):
        Asked((tmp_path, tmp_path, tmp_path))
    with pytest.raises(ConfigError, match="--limit is 0"):
        Asked(limit=0)
    with pytest.raises(InputError, match="is for text-classification; interference asks for the next token"):
        ask_artifact(CONFORMANCE / "encoder-topics", "topics", "more", Asked())
    checkpoint = open_checkpoint(str(tiny_checkpoint))
    plan = functools.partial(plan_grid, plan=parse_quant("int8"))
    with pytest.raises(AdapterError, match=r"was trained on another grid of tiny-llama: .*; give the --quant of its"):
        ask_model(checkpoint, plan, *map(str, pair), Asked())
    stranger = Path(shutil.copytree(pair[0], tmp_path / "stranger"))
    path = stranger / "receipt.json"
    text = path.read_text()
    path.write_text(text.replace(json.loads(text)["base"]["fingerprint"], "ab" * 32))
    with pytest.raises(AdapterError, match="were trained for other bases"):
        ask_model(checkpoint, GRID, str(stranger), str(pair[1]), Asked())
    called = [str(write_adapter(tmp_path / name, seed=seed, invocation=(65,))) for name, seed in (("c", 1), ("d", 2))]
    with pytest.raises(AdapterError, match=r"is an activated adapter .*, and no blend has one"):
        ask_model(checkpoint, GRID, *called, Asked())
