"""Which modules a configuration claims: what PEFT itself finds to give factors to."""

import itertools
from pathlib import Path
from typing import Any

import peft
import pytest
from peft.tuners.tuners_utils import check_target_module_exists

from edgelora_runtime.adapter_config import read_config
from edgelora_runtime.claims import claims

MODULES = [
    f"{start}{name}.{layer}.{rest}"
    for start, name, layer, rest in itertools.product(
        ("", "model.", "model.language_model.", "a.0.b."),
        ("layers", "h", "my_layers"),
        (0, 1, 10),
        ("self_attn.q_proj", "self_attn.v_proj", "mlp.experts.1.q_proj", "q_proj"),
    )
]
LISTS = (["q_proj", "v_proj"], ["q_proj", "model.layers.0.self_attn.v_proj"], ["self_attn.q_proj"])
LAYERS = (None, [], 0, 1, [1, 10], [5])
PATTERNS = (None, [], "layers", ["h", "layers"], "model.layers", ["nothing"])
EXCLUDED = (None, [], ["v_proj"], ["q_proj", "layers.0.self_attn.v_proj"], r".*\.1\..*", r"model\.layers\..*", "q_proj")


def as_peft_has_it(folder: Path, **fields: Any) -> list[bool]:
    config = peft.LoraConfig(r=4, lora_alpha=8, bias="none", **fields)
    config.save_pretrained(folder)
    return [bool(check_target_module_exists(config, module)) for module in MODULES]


def as_we_have_it(folder: Path) -> list[bool]:
    config = read_config(folder)
    return [claims(module, config.targets, config.narrowing) for module in MODULES]


@pytest.mark.parametrize("targets", LISTS, ids=str)
def test_lists_are_narrowed_as_peft_narrows_them(tmp_path: Path, targets: list[str]) -> None:
    counts = set()
    for layers, pattern, excluded in itertools.product(LAYERS, PATTERNS, EXCLUDED):
        if pattern and layers in (None, []):
            continue  # which is refused
        fields = {"layers_to_transform": layers, "layers_pattern": pattern, "exclude_modules": excluded}
        expected = as_peft_has_it(tmp_path, target_modules=targets, **fields)
        assert as_we_have_it(tmp_path) == expected, fields
        counts.add(sum(expected))
    assert len(counts) > 5  # they do not claim all or nothing


def test_patterns_are_narrowed_as_peft_narrows_them(tmp_path: Path) -> None:
    for excluded in EXCLUDED:
        expected = as_peft_has_it(tmp_path, target_modules=r".*\.(q|v)_proj", exclude_modules=excluded)
        assert as_we_have_it(tmp_path) == expected, excluded
