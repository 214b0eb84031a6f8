"""Gains of DoRA that was converted: read, refused, packed, blended and stacked; knows nothing about sessions."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora_runtime.adapter import Adapter, Factors, fit_adapter, read_adapter
from edgelora_runtime.bound_adapter import bind
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.fused import BLOCKS, FACTORS, pack_fused
from edgelora_runtime.manifest import Slot, SlotPart
from edgelora_runtime.packers import SlotPacker
from edgelora_runtime.packing import blend_packed, pack_adapter, stack_packed
from edgelora_runtime.safetensors import write_safetensors

SLOTS = (
    Slot("0.qk", "0.qk.a", "0.qk.b", 6, 8, (SlotPart("layers.0.q", 0, 5), SlotPart("layers.0.k", 5, 3)), "0.qk.gain"),
    Slot("0.o", "0.o.a", "0.o.b", 5, 6, (SlotPart("layers.0.o", 0, 6),), "0.o.gain"),
)
GRID = "a1" * 32


def write_dora(folder: Path, modules: dict[str, tuple[int, int]], **changes: Any) -> Path:
    """A converted folder of rank 2 for modules of (out_features, in_features)."""
    rng = np.random.default_rng(len(modules))
    tensors = {}
    for module, (out, into) in modules.items():
        for what, shape in (("lora_A", (2, into)), ("lora_B", (out, 2)), ("lora_gain", (out,))):
            tensors[f"base_model.model.{module}.{what}.weight"] = rng.standard_normal(shape).astype(np.float32)
    folder.mkdir()
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "EDGELORA_DORA", "edgelora_grid": GRID, "r": 2, "lora_alpha": 4, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return folder


def test_gains_are_read_packed_blended_and_stacked(tmp_path: Path) -> None:
    one = read_adapter(write_dora(tmp_path / "one", {"layers.0.k": (3, 6), "layers.0.o": (6, 5)}), with_gains=True)
    two = read_adapter(write_dora(tmp_path / "two", {"layers.0.q": (5, 6)}), with_gains=True)
    assert one.grid == GRID
    fit_adapter(one, SLOTS, "one")
    gain = one.factors["layers.0.k"].gain
    assert gain is not None
    packed, other = pack_adapter(one, SLOTS), pack_adapter(two, SLOTS)
    assert packed["0.qk.gain"].shape == (1, 1, 8)
    np.testing.assert_array_equal(packed["0.qk.gain"][0, 0], [0, 0, 0, 0, 0, *gain])
    blend = blend_packed([(packed, 0.5), (other, -2.0)], SLOTS)
    np.testing.assert_allclose(blend["0.qk.gain"], 0.5 * packed["0.qk.gain"] - 2 * other["0.qk.gain"], rtol=1e-6)
    none = blend_packed([], SLOTS)
    rows = stack_packed([packed, none, blend], SLOTS)
    assert rows["0.qk.gain"].shape == (3, 1, 8)
    np.testing.assert_array_equal(rows["0.qk.gain"][1], np.zeros((1, 8)))
    np.testing.assert_array_equal(rows["0.o.gain"][2], blend["0.o.gain"][0])
    assert bind(none).is_none
    assert not bind(packed).is_none
    only_gains = {name: array if name.endswith("gain") else none[name] for name, array in packed.items()}
    assert not bind(only_gains).is_none


def test_a_file_of_packed_factors_keeps_them(tmp_path: Path) -> None:
    adapter = read_adapter(write_dora(tmp_path / "one", {"layers.0.k": (3, 6)}), with_gains=True)
    packer = SlotPacker(SLOTS)
    packed = packer.pack(adapter)
    data = b"".join(bytes(item) for item in packer.to_buffers(packed))
    found = packer.from_buffer(data)
    assert found is not None
    assert found.keys() == packed.keys()
    assert all(np.array_equal(found[name], array) for name, array in packed.items())
    assert packer.from_buffer(data[:-4]) is None


def test_a_fused_block_holds_them_behind_its_scales(tmp_path: Path) -> None:
    folder = write_dora(tmp_path / "one", {"layers.0.k": (3, 6), "layers.0.q": (5, 6)})
    adapter = read_adapter(folder, with_gains=True)
    packed = pack_fused(adapter, SLOTS)
    assert packed[BLOCKS].reshape(-1)[1] == -1
    head = packed[FACTORS][: 4 * 8].view(np.int32)
    assert list(head) == [0, 4, 2, 1, 0, 2, 2, 2]
    gains = packed[FACTORS][128 : 128 + 4 * 8].view(np.float32)  # behind a line of head and one of scales
    q, k = (adapter.factors[f"layers.0.{name}"].gain for name in "qk")
    assert q is not None
    assert k is not None
    np.testing.assert_array_equal(gains, [*q, *k])
    plain = {module: dataclasses.replace(item, gain=None) for module, item in adapter.factors.items()}
    without = pack_fused(Adapter(plain), SLOTS)[FACTORS]
    assert without[:16].view(np.int32)[3] == 0
    np.testing.assert_array_equal(np.delete(packed[FACTORS], range(128, 192))[16:], without[16:])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"edgelora_grid": None}, "edgelora_grid is None, expected 64 lower-case hexadecimal digits"),
        ({"edgelora_grid": GRID.upper()}, "expected 64 lower-case hexadecimal digits"),
        ({"use_dora": True}, "it uses DoRA"),
        ({"peft_type": "LORA"}, "layers.0.k.lora_gain.weight is no LoRA factor"),
    ],
)
def test_what_is_no_dora_of_a_grid_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    folder = write_dora(tmp_path / "one", {"layers.0.k": (3, 6)}, **changes)
    with pytest.raises(AdapterError, match=re.escape(told)):
        read_adapter(folder, with_gains=True)


def test_who_asks_for_plain_lora_does_not_get_it(tmp_path: Path) -> None:
    folder = write_dora(tmp_path / "one", {"layers.0.k": (3, 6)})
    with pytest.raises(AdapterError, match="peft_type is 'EDGELORA_DORA', expected 'LORA'"):
        read_adapter(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lora_gain": None}, "layers.0.k: lora_gain is missing"),
        ({"lora_gain": np.ones(4, np.float32)}, "layers.0.k: lora_gain has 4 numbers, B 3 rows"),
        ({"lora_gain": np.ones((3, 1), np.float32)}, "expected one dimension of floats"),
        ({"lora_gain": np.array([1, 2, np.nan], np.float32)}, "lora_gain.weight holds numbers that are not finite"),
    ],
)
def test_odd_gains_are_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    folder = write_dora(tmp_path / "one", {"layers.0.k": (3, 6)})
    sizes = {"lora_A": (2, 6), "lora_B": (3, 2), "lora_gain": (3,)}
    tensors = {name: np.ones(shape, np.float32) for name, shape in sizes.items()} | change
    kept = {f"base_model.model.layers.0.k.{name}.weight": item for name, item in tensors.items() if item is not None}
    write_safetensors(folder / "adapter_model.safetensors", kept)
    with pytest.raises(AdapterError, match=re.escape(told)):
        read_adapter(folder, with_gains=True)


def test_slots_without_a_place_refuse_them_and_gains_alone_are_a_change(tmp_path: Path) -> None:
    adapter = read_adapter(write_dora(tmp_path / "one", {"layers.0.o": (6, 5)}), with_gains=True)
    places = tuple(dataclasses.replace(slot, gain=None) for slot in SLOTS)
    with pytest.raises(AdapterError, match="it is DoRA, and the slots of this artifact have no place for its gains; "):
        fit_adapter(adapter, places, "it")
    (item,) = adapter.factors.values()
    assert item.gain is not None
    still = Factors(item.a, 0 * item.b, item.scaling, item.gain)
    fit_adapter(Adapter({"layers.0.o": still}), SLOTS, "it")
    with pytest.raises(AdapterError, match="it changes nothing"):
        fit_adapter(Adapter({"layers.0.o": dataclasses.replace(still, gain=0 * item.gain)}), SLOTS, "it")
