"""Exports of a base and of a merged adapter, opened by optimum: the same greedy tokens."""

import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from optimum.onnxruntime import ORTModelForCausalLM

from edgelora_onnx.passes.genai_twin import ON_THE_LEFT
from tests.others.conftest import COUNT, PROMPT, Shared, answer

GRAPH = "decoder.genai.onnx"


@pytest.mark.parametrize("name", ["slots", "merged", "float_base"])
def test_optimum_gives_the_tokens_of_our_runtime(shared: Shared, name: str) -> None:
    folder = getattr(shared, name)
    model = ORTModelForCausalLM.from_pretrained(folder, file_name=GRAPH)
    ids = torch.tensor([PROMPT])
    found = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=COUNT)
    assert found[0, len(PROMPT) :].tolist() == answer(folder)


def test_a_batch_padded_on_the_left_is_no_wrong_answer(shared: Shared) -> None:
    model = ORTModelForCausalLM.from_pretrained(shared.slots, file_name=GRAPH)
    ids = torch.tensor([[0, *PROMPT], [7, *PROMPT]])
    mask = torch.ones_like(ids)
    model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=1)
    mask[0, 0] = 0
    with pytest.raises(InvalidArgument, match=ON_THE_LEFT):
        model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=1)
