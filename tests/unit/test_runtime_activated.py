"""Activated adapters (aLoRA): PEFT's own answers, and a KV cache before the invocation that serves all of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from edgelora.artifact.store import add_adapter
from edgelora_runtime import AdapterError, ArtifactError, InputError, Model, load
from edgelora_runtime.invocation import find_last
from tests.tiny import CONTEXT, write_adapter, write_artifact

CALL, CUE = (257, 65), (66,)  # <|im_start|> b, and c
TEMPLATE_CALL = (257, 64, 82, 82, 72, 82, 83, 64, 77, 83, 198)  # <|im_start|>assistant and a line break
RNG = np.random.default_rng(3)
TEXT = [int(token) for token in RNG.integers(100, 250, 40)]  # holds no invocation
PROMPT = [*TEXT[:20], *CALL, *TEXT[20:24]]
TWICE = [*TEXT[:9], *CALL, *TEXT[9:30], *CALL, *TEXT[30:33]]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "plain": write_adapter(folder / "plain", rank=4, seed=1),
        "call": write_adapter(folder / "call", rank=4, seed=2, invocation=CALL),
        "cue": write_adapter(folder / "cue", rank=1, seed=3, targets=("q_proj", "down_proj"), invocation=CUE),
        "chat": write_adapter(folder / "chat", rank=8, seed=4, invocation=TEMPLATE_CALL),
    }


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, adapters: dict[str, Path]) -> Path:
    """Float, so that PyTorch's answers are the runtime's within rounding."""
    out = tmp_path_factory.mktemp("artifact") / "tiny"
    write_artifact(tiny_checkpoint, out, quant="none")
    for name, folder in adapters.items():
        add_adapter(out, name, folder)
    return out


@pytest.fixture(params=["one graph", "twin"])
def model(artifact: Path, request: pytest.FixtureRequest) -> Iterator[Model]:
    with load(artifact, threads=1, twin=request.param == "twin") as opened:
        yield opened


def of_peft(checkpoint: Path, folder: Path, ids: list[int]) -> np.ndarray:
    """Logits (len(ids), vocab_size) of PEFT's forward pass in float64: in float32 it is off by 1.3e-4 on one prompt."""
    base = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64)
    with torch.no_grad():
        model = PeftModel.from_pretrained(base, str(folder)).double().eval()
        found: np.ndarray = model(torch.tensor([ids])).logits[0].numpy()
    return found


@pytest.mark.parametrize("name", ["call", "cue", "plain"])
@pytest.mark.parametrize("before", ["none", "plain", "call", "cue"])
def test_logits_are_those_of_peft(
    name: str, before: str, model: Model, tiny_checkpoint: Path, adapters: dict[str, Path]
) -> None:
    for ids in ([*PROMPT, *CUE, 7], [*TWICE, *CUE], [*CALL, *CUE], [*TEXT[:5], *CUE, *CALL], [*CUE, *CUE, *CALL]):
        model.logits([*CALL, *CUE] if before in ("call", "cue") else ids, adapter=before)
        expected = of_peft(tiny_checkpoint, adapters[name], ids)
        np.testing.assert_allclose(model.logits(ids, adapter=name), expected, atol=1e-4)


def test_half_an_adapter_acts_from_the_invocation_on(model: Model) -> None:
    base, whole, half = (model.logits(PROMPT, adapter=spec) for spec in ("none", "call", "call:0.5"))
    np.testing.assert_allclose(half[:20], base[:20], atol=1e-4)
    np.testing.assert_allclose(whole[:20], base[:20], atol=1e-4)
    assert min(np.abs(half[20] - base[20]).max(), np.abs(half[20] - whole[20]).max()) > 0.01


def test_a_switch_computes_no_token_before_the_invocation_again(artifact: Path, model: Model, fed: list[int]) -> None:
    def answer(ids: list[int], spec: str) -> tuple[list[int], int]:
        fed.clear()
        found = model.generate_ids(ids, adapter=spec, max_new_tokens=5)
        n_computed = sum(fed)
        with load(artifact, threads=1) as fresh:
            assert found == fresh.generate_ids(ids, adapter=spec, max_new_tokens=5)
        return found, n_computed

    context = [*TEXT, *TEXT[::-1]]
    assert answer(context, "none")[1] == len(context)
    called = [*context, *CALL, 7]
    first, n_computed = answer(called, "call")
    assert n_computed == 3
    cued = [*context, *CUE, 7, 8]
    assert answer(cued, "cue")[1] == 3
    assert answer(called, "call:0.5")[1] == 3
    assert answer(called, "call")[1] == 3
    assert answer(called, "call")[1] == 1, "the same adapter at the same place goes on from all of it"
    # The next turn: what the adapter computed of the last one is the base's now.
    turn = [*called, *first, *TEXT[:4], *CALL, 9]
    assert answer(turn, "call")[1] == len(turn) - len(context)
    assert answer(turn, "none")[1] == 3
    assert answer([*called, *first, *CUE], "cue")[1] == 1
    assert answer(called, "plain")[1] == len(called), "a plain adapter acts on every token"
    assert answer(called, "call")[1] == len(called), "and no other can go on from its numbers"


def test_setting_an_adapter_keeps_what_the_base_computed(model: Model, fed: list[int]) -> None:
    model.generate_ids(TEXT, adapter="none", max_new_tokens=1)
    for spec, ids, n_computed in (
        ("call", [*TEXT, *CALL, 7], 3), ("none", TEXT, 1), ("cue", [*TEXT, *CUE], 1), ("plain", TEXT, len(TEXT)),
    ):  # fmt: skip
        fed.clear()
        model.set_adapter(spec)
        model.generate_ids(ids, max_new_tokens=1)
        assert sum(fed) == n_computed, spec


def test_rows_answer_as_they_do_alone(model: Model, fed: list[int]) -> None:
    rows = [PROMPT, TEXT[:7], [*PROMPT, *CUE], TWICE, PROMPT]
    specs = ["call", "plain", "cue", "call:0.5", "none"]
    options = {"max_new_tokens": 5, "temperature": 0.8, "seed": 3}
    alone = [
        model.generate_ids(rows, adapter=[spec] * 5 if spec in ("plain", "none") else specs, **options)
        for spec in specs
    ]
    found = model.generate_ids(rows, adapter=specs, **options)
    for index, spec in enumerate(specs):
        assert found[index] == alone[index][index], spec
    greedy = model.generate_ids(rows, adapter=specs, max_new_tokens=5)
    assert greedy == [
        model.generate_ids(ids, adapter=spec, max_new_tokens=5) for ids, spec in zip(rows, specs, strict=True)
    ]


def test_scores_and_choices_find_the_invocation_in_the_prompt(
    model: Model, tiny_checkpoint: Path, adapters: dict[str, Path]
) -> None:
    completion = [7, *TEXT[:3]]
    logits = torch.tensor(of_peft(tiny_checkpoint, adapters["call"], [*PROMPT, *completion])).double()
    expected = [float(logits[len(PROMPT) - 1 + at].log_softmax(-1)[token]) for at, token in enumerate(completion)]
    np.testing.assert_allclose(model.score(PROMPT, completion, adapter="call"), expected, atol=1e-4)
    whole = model.score(PROMPT, [*CALL, 7], adapter="call")
    apart = [model.score([*PROMPT, *CALL[:at]], [token], adapter="call") for at, token in enumerate(CALL)]
    np.testing.assert_allclose(whole[:2], np.concatenate(apart), atol=1e-4)
    choices = ["yes", "yes no", "no"]
    found = model.generate("which?", adapter="chat", choices=choices)
    model.generate("which?", adapter="none", max_new_tokens=2)
    again = model.generate("which?", adapter="chat", choices=choices)
    assert found.choice_scores is not None
    np.testing.assert_allclose(found.choice_scores, again.choice_scores, atol=1e-4)


def test_a_chat_streams_and_looks_ahead_as_a_fresh_model_does(artifact: Path, model: Model) -> None:
    messages: list[dict[str, str]] = [{"role": "system", "content": "be brief"}]
    for turn, spec in enumerate(("chat", "none", "chat", "chat:0.5", "chat")):
        messages.append({"role": "user", "content": f"question {turn}"})
        stream = model.chat(messages, adapter=spec, stream=True, max_new_tokens=8)
        text = "".join(stream)
        with load(artifact, threads=1) as fresh:
            assert fresh.chat(messages, adapter=spec, max_new_tokens=8) == stream.generation
        ahead = model.chat(messages, adapter=spec, max_new_tokens=8, lookup=True)
        assert ahead.token_ids == stream.generation.token_ids
        messages.append({"role": "assistant", "content": text})


def test_a_prefix_before_the_invocation_is_the_bases_and_serves_all(
    artifact: Path, model: Model, fed: list[int], tmp_path: Path
) -> None:
    file = tmp_path / "context.prefix"
    assert model.keep_prefix(PROMPT, file, adapter="call") == 20
    for spec, ids, n_computed in (
        ("call", PROMPT, 6), ("cue", [*PROMPT[:20], *CUE], 1), ("none", PROMPT, 6), ("plain", PROMPT, 26),
        ("call", [*PROMPT[:10], *CALL], 2),
    ):  # fmt: skip
        model.generate_ids(TEXT[30:], adapter="plain", max_new_tokens=1)  # the cache is another adapter's now
        fed.clear()
        found = model.generate_ids(ids, adapter=spec, max_new_tokens=4)
        assert sum(fed) == n_computed, spec
        with load(artifact, threads=1) as fresh:
            assert found == fresh.generate_ids(ids, adapter=spec, max_new_tokens=4)
    for spec in ("none", "cue", "call:0.5"):
        with load(artifact, threads=1) as second:
            assert second.load_prefix(file, adapter=spec) == 20
    with pytest.raises(ArtifactError, match="kept with another artifact or adapter"):
        model.load_prefix(file, adapter="plain")
    with pytest.raises(InputError, match="acts on all 6 tokens; give some before its invocation"):
        model.keep_prefix(PROMPT[20:], adapter="call")


def test_a_prompt_without_the_invocation_is_refused(model: Model) -> None:
    line = r"adapter 'call' acts from its invocation on, '<\|im_start\|>b' \(token ids 257, 65\), which the prompt does"
    for call in (
        lambda: model.generate_ids(TEXT, adapter="call"),
        lambda: model.generate_ids([PROMPT, TEXT], adapter=["call", "call"]),
        lambda: model.logits(TEXT, adapter="call"),
        lambda: model.score(TEXT, CALL, adapter="call"),
        lambda: model.generate("hello", adapter="call", stream=True),
        lambda: model.generate("hello", adapter="call", choices=["a", "b"]),
        lambda: model.chat([{"role": "user", "content": "hello"}], adapter="call"),
    ):
        with pytest.raises(InputError, match=line):
            call()
    with pytest.raises(InputError, match=r"'chat' .* \(token ids 257, 64, 82, 82, 72, 82, 83, 64, …\)"):
        model.generate("hello", adapter="chat", raw=True)


def test_no_blend_has_an_activated_adapter(model: Model) -> None:
    for spec in ("call+plain", "plain:0.5+call:0.5", "call+cue"):
        with pytest.raises(AdapterError, match="acts from its invocation on and no blend can; use it alone"):
            model.generate_ids(PROMPT, adapter=spec)


def test_a_budget_and_packed_files_change_nothing(artifact: Path, tmp_path: Path) -> None:
    answers = []
    for _ in range(2):
        with load(artifact, threads=1, cache=tmp_path / "kept", adapter_bytes=1) as model:
            answers.append([model.logits(PROMPT, adapter=spec)[-1] for spec in ("call", "none", "plain", "call")])
    with load(artifact, threads=1) as model:
        expected = model.logits(PROMPT, adapter="call")[-1]
    for found in answers:
        np.testing.assert_allclose(found[0], expected, atol=1e-4)
        np.testing.assert_allclose(found[3], expected, atol=1e-4)


def test_a_prompt_up_to_the_end_of_the_context(model: Model, artifact: Path) -> None:
    ids = [*([7] * (CONTEXT - 8)), *CALL, *TEXT[:6]]
    found = model.generate_ids(ids, adapter="call", max_new_tokens=5)
    with load(artifact, threads=1) as fresh:
        np.testing.assert_array_equal(found, fresh.generate_ids(ids, adapter="call", max_new_tokens=5))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([259], "its invocation has token 259, the vocabulary ends at 258"),
        ([-1], "alora_invocation_tokens is [-1], expected at most 1024 token ids"),
        ([1.5], "alora_invocation_tokens is [1.5]"),
        ([True], "alora_invocation_tokens is [True]"),
        ("hello", "alora_invocation_tokens is 'hello'"),
        ([1] * 1025, "expected at most 1024 token ids"),
    ],
)
def test_what_is_no_invocation_is_refused(
    tokens: object, message: str, model: Model, adapters: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(adapters["call"], tmp_path / "adapter"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"alora_invocation_tokens": tokens}))
    with pytest.raises(AdapterError) as refused:
        model.load_adapter("other", folder)
    assert message in str(refused.value)


def test_the_last_place_is_found() -> None:
    assert find_last([1, 2, 1, 2, 1], [1, 2]) == 2
    assert find_last([1, 1, 1], [1, 1]) == 1
    assert find_last([1, 2], [1, 2]) == 0
    assert find_last([1], [1, 2]) is None
    assert find_last([], [1]) is None
