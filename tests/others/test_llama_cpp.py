"""GGUF adapters that ``adapter convert`` wrote, loaded by llama.cpp beside a float base: PEFT's tokens and odds."""

import functools
from pathlib import Path

import gguf
import numpy as np
import peft
import torch
from transformers import AutoModelForCausalLM

from edgelora.adapter.convert import convert
from tests.others.conftest import COUNT, PROMPT, Shared, differ
from tests.others.environment import run_with
from tests.unit.gguf_files import write_gguf

TOP = 20


def _add_words(count: int, writer: gguf.GGUFWriter) -> None:
    """A word for each token: llama.cpp tells the tokens of a whole letter at once, and bytes alone are none."""
    writer.kv_data[0].pop("tokenizer.ggml.model")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["Ċ", *(f"t{number}" for number in range(1, count))])
    writer.add_token_types([1] * count)
    writer.add_token_merges(["t 1"])


def test_llama_cpp_gives_the_tokens_and_odds_of_peft(shared: Shared, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(shared.base).eval()
    write_gguf(tmp_path / "base.gguf", "llama", model, extra=functools.partial(_add_words, model.config.vocab_size))
    files = {name: tmp_path / f"{name}.gguf" for name in shared.adapters}
    for name, file in files.items():
        convert(shared.adapters[name], file, str(shared.base))
    asked = {"base": str(tmp_path / "base.gguf"), "adapters": [str(file) for file in files.values()]}
    found = run_with("llama_cpp", {**asked, "prompt": PROMPT, "count": COUNT, "top": TOP})

    adapted = peft.PeftModel.from_pretrained(model, shared.adapters["a"], adapter_name="a")
    adapted.load_adapter(shared.adapters["b"], adapter_name="b")
    with adapted.disable_adapter():
        ours = [_answer(adapted)]
    for name in files:
        adapted.set_adapter(name)
        ours.append(_answer(adapted))
    assert differ([tokens for tokens, _ in ours])
    for theirs, (expected, odds) in zip(found, ours, strict=True):
        assert theirs["tokens"] == expected
        ids = [item["id"] for item in theirs["first"]]
        assert len(ids) == TOP
        np.testing.assert_allclose([item["logprob"] for item in theirs["first"]], odds[ids], atol=1e-4)


@torch.no_grad()
def _answer(model: torch.nn.Module) -> tuple[list[int], np.ndarray]:
    """Greedy tokens, and the log odds of every token after the prompt."""
    ids = list(PROMPT)
    for _ in range(COUNT):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    odds = torch.log_softmax(model(torch.tensor([PROMPT])).logits[0, -1].double(), -1)
    return ids[len(PROMPT) :], odds.numpy()
