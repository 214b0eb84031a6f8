"""One conformance case against the installed Python runtime; ``python -m tests.conformance_check`` runs them all.

Knows nothing about pytest, so that an environment with the runtime alone can run it.
"""

import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgelora_runtime import EdgeLoraError, Generation, Model, Usage, load
from edgelora_runtime.sampling import Pcg32, Sampler, SamplingOptions
from tests.conformance_text import render

FOLDER = Path(__file__).resolve().parents[1] / "runtime" / "conformance"
WRONG = "tiny-wrong"  # the artifact whose adapters but one are wrong
OF_TEXT = {"render", "encode", "chat", "after", "answer", "choices", "text"}  # kinds


def read_cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))["cases"]
    return found


def check(case: dict[str, Any]) -> None:
    globals()[f"check_{case['kind']}"](case)


@functools.cache
def artifact(name: str) -> Model:
    """One model for all its cases, so that nothing may remain from one case to the next."""
    return load(FOLDER / name, hashes=name != WRONG)  # hashes look at every entry and file


def refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except EdgeLoraError as error:
        return str(error)
    raise AssertionError("nothing was refused")


def check_pcg32(case: dict[str, Any]) -> None:
    generator = Pcg32(case["seed"], case["stream"])
    assert [generator.next_uint32() for _ in case["expected"]] == case["expected"]


def check_sampler(case: dict[str, Any]) -> None:
    sampler = Sampler(SamplingOptions(**case["sampling"]), case["prompt_ids"], case["row"])
    assert [sampler.choose(np.array(row, np.float32)) for row in case["logits"]] == case["expected"]


def check_encode(case: dict[str, Any]) -> None:
    tokenizer = artifact(case["artifact"]).tokenizer
    assert tokenizer is not None
    ids = tokenizer.encode(case["text"], case["special"])
    assert ids == case["expected_ids"]
    assert tokenizer.decode(ids) == case["expected_text"]


def check_chat(case: dict[str, Any]) -> None:
    tokenizer = artifact(case["artifact"]).tokenizer
    assert tokenizer is not None
    assert tokenizer.render(case["messages"], case["add_generation_prompt"]) == case["expected_text"]
    assert tokenizer.encode_chat(case["messages"], case["add_generation_prompt"]) == case["expected_ids"]


def check_render(case: dict[str, Any]) -> None:
    if "message_has" not in case:
        assert render(case) == case["expected_text"]
        return
    assert case["message_has"] in refusal(lambda: render(case))


def check_after(case: dict[str, Any]) -> None:
    tokenizer = artifact(case["artifact"]).tokenizer
    assert tokenizer is not None
    assert tokenizer.encode_after(case["prompt"], case["text"], case["special"]) == case["expected_ids"]


def check_answer(case: dict[str, Any]) -> None:
    tokenizer = artifact(case["artifact"]).tokenizer
    assert tokenizer is not None
    assert tokenizer.encode_answer(case["messages"], case["answer"]) == case["expected_ids"]


def check_logits(case: dict[str, Any]) -> None:
    found = artifact(case["artifact"]).logits(case["input_ids"], adapter=case["adapter"], positions=case["positions"])
    np.testing.assert_allclose(found[:, case["columns"]], case["expected"], atol=case["tolerance"], rtol=0)
    assert found.argmax(axis=1).tolist() == case["expected_argmax"]


def check_tokens(case: dict[str, Any]) -> None:
    found = artifact(case["artifact"]).generate_ids(
        case["input_ids"], adapter=case["adapter"], max_new_tokens=case["max_new_tokens"], **case["sampling"]
    )
    assert found == case["expected_ids"]


def check_batch(case: dict[str, Any]) -> None:
    found = artifact(case["artifact"]).generate_ids(
        case["input_ids"], adapter=case["adapters"], max_new_tokens=case["max_new_tokens"], **case["sampling"]
    )
    assert found == case["expected_ids"]


def check_choices(case: dict[str, Any]) -> None:
    found = artifact(case["artifact"]).generate(
        case["prompt"], raw=case["raw"], adapter=case["adapter"], choices=case["choices"]
    )
    assert found.text == case["expected_text"]
    np.testing.assert_allclose(found.choice_scores, case["expected_scores"], atol=case["tolerance"], rtol=0)


def check_text(case: dict[str, Any]) -> None:
    model = artifact(case["artifact"])
    options = {"max_new_tokens": case["max_new_tokens"], "stop": case["stop"], **case["sampling"]}
    found = model.generate(case["prompt"], raw=case["raw"], adapter=case["adapter"], **options)
    usage = Usage(case["expected_prompt_tokens"], len(case["expected_ids"]))
    assert found == Generation(case["expected_text"], tuple(case["expected_ids"]), case["expected_reason"], usage)
    stream = model.generate(case["prompt"], raw=case["raw"], adapter=case["adapter"], stream=True, **options)
    pieces = list(stream)
    assert "".join(pieces) == case["expected_text"]
    assert all(pieces)
    assert stream.generation == found


def check_error(case: dict[str, Any]) -> None:
    model = artifact(case["artifact"])
    refused = refusal(lambda: model.generate_ids(case["input_ids"], adapter=case["adapter"]))
    assert case["message_has"] in refused


def main() -> None:
    """Run every case that the environment has the packages for; the first wrong answer ends it."""
    has_text = importlib.util.find_spec("tokenizers") is not None
    cases = [case for case in read_cases() if has_text or case["kind"] not in OF_TEXT]
    for case in cases:
        check(case)
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
