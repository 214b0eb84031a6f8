"""GGUF adapters that ``adapter convert`` wrote, loaded by llama.cpp beside a float base: PEFT's tokens and odds."""

import functools
from pathlib import Path

import gguf
import numpy as np
import peft
import pytest
import torch

from edgelora.adapter.convert import convert
from tests.others.conftest import COUNT, PROMPT
from tests.others.environment import run_with
from tests.unit.gguf_files import tiny_model, write_gguf

TOP = 20
LOOKED_UP = ("gemma3", "gpt2")  # llama.cpp looks GELU up in a table of float16
SIZE = 96  # tokens of the tiny models
IDS = [token % SIZE for token in PROMPT]


def _add_words(count: int, writer: gguf.GGUFWriter) -> None:
    """A word for each token: llama.cpp tells the tokens of a whole letter at once, and bytes alone are none."""
    writer.kv_data[0].pop("tokenizer.ggml.model")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["Ċ", *(f"t{number}" for number in range(1, count))])
    writer.add_token_types([1] * count)
    writer.add_token_merges(["t 1"])


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3", "phi3", "granite", "gpt2"])
def test_llama_cpp_gives_the_tokens_and_odds_of_peft(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    model.save_pretrained(tmp_path / "base")
    write_gguf(tmp_path / "base.gguf", architecture, model, extra=functools.partial(_add_words, SIZE))
    torch.manual_seed(3)
    adapted = model
    for name, rank in (("a", 4), ("b", 2)):
        config = peft.LoraConfig(
            r=rank, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
        )
        if name == "a":
            adapted = peft.get_peft_model(model, config, name)
        else:
            adapted.add_adapter(name, config)
    adapted.save_pretrained(tmp_path)
    for name in "ab":
        convert(tmp_path / name, tmp_path / f"{name}.gguf", str(tmp_path / "base"))
    asked = {"base": str(tmp_path / "base.gguf"), "adapters": [str(tmp_path / f"{name}.gguf") for name in "ab"]}
    found = run_with("llama_cpp", {**asked, "prompt": IDS, "count": COUNT, "top": TOP})

    with adapted.disable_adapter():
        ours = [_answer(adapted)]
    for name in "ab":
        adapted.set_adapter(name)
        ours.append(_answer(adapted))
    base, *others = (odds for _, odds in ours)
    assert min(np.abs(odds - base).max() for odds in others) > 0.01
    atol = 1e-3 if architecture in LOOKED_UP else 1e-4
    for theirs, (expected, odds) in zip(found, ours, strict=True):
        ids = [item["id"] for item in theirs["first"]]
        assert len(ids) == TOP
        np.testing.assert_allclose([item["logprob"] for item in theirs["first"]], odds[ids], atol=atol)
        assert theirs["tokens"] == expected


@torch.no_grad()
def _answer(model: torch.nn.Module) -> tuple[list[int], np.ndarray]:
    """Greedy tokens, and the log odds of every token after the prompt."""
    ids = list(IDS)
    for _ in range(COUNT):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    odds = torch.log_softmax(model(torch.tensor([IDS])).logits[0, -1].double(), -1)
    return ids[len(IDS) :], odds.numpy()
