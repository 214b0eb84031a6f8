"""A rounded adapter is a folder of PEFT, or becomes one without loss; all multiply with the same numbers."""

from pathlib import Path

import numpy as np
import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from edgelora.adapter.narrow import narrow
from edgelora.adapter.plain import read_plain, write_plain
from edgelora.artifact.store import add_adapter
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.manifest import HALF_STORE, INT8_STORE
from tests.tiny import write_adapter, write_artifact, write_checkpoint


@pytest.mark.parametrize("store", [HALF_STORE, INT8_STORE])
def test_peft_opens_what_was_stored_with_the_same_numbers(tmp_path: Path, store: str) -> None:
    write_checkpoint(tmp_path / "base")
    write_artifact(tmp_path / "base", tmp_path / "artifact", reference=False)
    before = read_adapter(write_adapter(tmp_path / "a", rank=5))
    info = add_adapter(tmp_path / "artifact", "a", tmp_path / "a", store=store)
    folder = tmp_path / "artifact" / info.path
    if store == INT8_STORE:  # codes, which PEFT does not know
        write_plain(tmp_path / "plain", read_plain(folder))
        folder = tmp_path / "plain"
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    opened = PeftModel.from_pretrained(base, folder).state_dict()
    expected = narrow(before, store)
    assert len(expected.factors) == 14
    for module, item in expected.factors.items():
        for side, values in (("A", item.a), ("B", item.b)):
            (key,) = (key for key in opened if f"{module}.lora_{side}" in key)
            assert np.array_equal(opened[key].float().numpy(), values), key
