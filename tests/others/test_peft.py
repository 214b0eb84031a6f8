"""An adapter's folder in an artifact, with its receipt and whatever it is stored as, opened by PEFT."""

import shutil
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.training.finish_receipt import make_receipt
from edgelora_runtime.model import load
from tests.others.conftest import PROMPT, Shared


@pytest.mark.parametrize("store", ["float32", "float16", "int8"])
def test_peft_gives_the_logits_of_our_runtime(shared: Shared, store: str, tmp_path: Path) -> None:
    folder, artifact = tmp_path / "adapter", tmp_path / "artifact"
    shutil.copytree(shared.adapters["a"], folder)
    shutil.copytree(shared.float_base, artifact)
    make_receipt(open_checkpoint(str(shared.base)), folder, lambda base: plan_grid(base, parse_quant("none")))
    add_adapter(artifact, "a", folder, store=store)
    inside = artifact / "adapters" / "a"
    assert (inside / "receipt.json").is_file()
    opened = inside
    if store == "int8":
        with pytest.raises(RuntimeError, match="size mismatch"):
            peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(shared.base), inside)
        opened = tmp_path / "plain"
        assert main(["adapter", "convert", str(inside), "-o", str(opened)]) == 0
    with load(artifact) as model:
        ours = np.stack([model.logits(list(PROMPT), adapter=spec) for spec in ("none", "a")])
    base = AutoModelForCausalLM.from_pretrained(shared.base).eval()
    with torch.no_grad():
        theirs = [base(torch.tensor([PROMPT])).logits[0].numpy()]
        adapted = peft.PeftModel.from_pretrained(base, opened).eval()
        theirs.append(adapted(torch.tensor([PROMPT])).logits[0].numpy())
    assert np.abs(ours[0] - ours[1]).max() > 0.1
    np.testing.assert_allclose(ours, np.stack(theirs), atol=1e-4)
