"""Reading, fitting and packing adapters, against PEFT's own answer; knows nothing about sessions."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from peft import LoraConfig, get_peft_model

from edgelora_runtime.adapter import Adapter, Factors, check_name, fit_adapter, parse_spec, read_adapter
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.manifest import Slot, SlotPart, read_manifest
from edgelora_runtime.open_adapter import open_adapter
from edgelora_runtime.packing import blend_packed, pack_adapter, stack_packed
from edgelora_runtime.safetensors import read_safetensors, write_safetensors

TINY = Path(__file__).resolve().parents[2] / "runtime" / "conformance" / "tiny-float"
SLOTS = (
    Slot("0.qk", "0.qk.a", "0.qk.b", 6, 8, (SlotPart("layers.0.q", 0, 5), SlotPart("layers.0.k", 5, 3))),
    Slot("0.o", "0.o.a", "0.o.b", 5, 6, (SlotPart("layers.0.o", 0, 6),)),
)


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.o = torch.nn.Linear(6, 5), torch.nn.Linear(6, 3), torch.nn.Linear(5, 6)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([Layer()])


def save_peft(folder: Path, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q", "k", "o"], "init_lora_weights": False, **options}
    model = get_peft_model(Net(), LoraConfig(**settings))
    model.save_pretrained(folder)
    return model


def change_config(folder: Path, **fields: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def delta(packed: dict[str, np.ndarray], slot: Slot, row: int = 0) -> np.ndarray:
    return packed[slot.a][row] @ packed[slot.b][row]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"r": 1},
        {"r": 64},
        {"use_rslora": True},
        {"target_modules": ["k"]},
        {"rank_pattern": {"q": 2, "layers.0.k": 3}, "alpha_pattern": {"o": 9}},
        {"rank_pattern": {"q": 2}, "alpha_pattern": {"q": 5}, "use_rslora": True},
    ],
    ids=str,
)
def test_packed_slots_give_the_delta_of_peft(tmp_path: Path, options: dict[str, object]) -> None:
    model = save_peft(tmp_path, **options)
    adapter = read_adapter(tmp_path)
    fit_adapter(adapter, SLOTS, "x")
    packed = pack_adapter(adapter, SLOTS, weight=0.5)
    layer = model.base_model.model.layers[0]
    for slot in SLOTS:
        for part in slot.parts:
            linear = getattr(layer, part.module.rsplit(".", 1)[1])
            expected = np.zeros((slot.in_features, part.out_features))
            if hasattr(linear, "lora_A"):
                expected = 0.5 * linear.get_delta_weight("default").detach().numpy().T
            found = delta(packed, slot)[:, part.offset : part.offset + part.out_features]
            np.testing.assert_allclose(found, expected, atol=1e-6)
    assert adapter.rank == max(item.a.shape[0] for item in adapter.factors.values())


def test_a_slot_without_modules_has_rank_0(tmp_path: Path) -> None:
    save_peft(tmp_path, target_modules=["k"], r=2)
    packed = pack_adapter(read_adapter(tmp_path), SLOTS)
    assert {name: array.shape for name, array in packed.items()} == {
        "0.qk.a": (1, 6, 2), "0.qk.b": (1, 2, 8), "0.o.a": (1, 5, 0), "0.o.b": (1, 0, 6)
    }  # fmt: skip


WIDE = Slot(
    "0.qkv", "a", "b", 6, 12,
    (SlotPart("layers.0.q", 0, 5), SlotPart("layers.0.k", 5, 3), SlotPart("layers.0.v", 8, 4)),
)  # fmt: skip


def block_diagonal(adapter: Adapter, slot: Slot) -> np.ndarray:
    """The delta of a slot with ranks of its own for every part: (in_features, out_features)."""
    present = [(part, adapter.factors[part.module]) for part in slot.parts if part.module in adapter.factors]
    a = np.concatenate([item.a.T for _, item in present], axis=1)
    b = np.zeros((a.shape[1], slot.out_features), np.float32)
    start = 0
    for part, item in present:
        end = start + len(item.a)
        b[start:end, part.offset : part.offset + part.out_features] = item.scaling * item.b.T
        start = end
    return a @ b


@pytest.mark.parametrize(
    ("shared", "rank"), [("", 9), ("qk", 6), ("kv", 6), ("qv", 6), ("qkv", 3)], ids=["apart", "qk", "kv", "qv", "all"]
)
def test_parts_with_equal_a_share_their_ranks(shared: str, rank: int) -> None:
    rng = np.random.default_rng(0)
    common = rng.standard_normal((3, 6)).astype(np.float32)
    factors = {
        part.module: Factors(
            common.copy() if part.module[-1] in shared else rng.standard_normal((3, 6)).astype(np.float32),
            rng.standard_normal((part.out_features, 3)).astype(np.float32),
            0.5 + index,  # a scaling of its own stays with B
        )
        for index, part in enumerate(WIDE.parts)
    }
    packed = pack_adapter(Adapter(factors), [WIDE])
    assert packed["a"].shape == (1, 6, rank)
    assert packed["b"].shape == (1, rank, 12)
    np.testing.assert_allclose(delta(packed, WIDE), block_diagonal(Adapter(factors), WIDE), atol=1e-5)
    if shared == "qkv":
        assert np.count_nonzero(packed["b"]) == packed["b"].size


def test_a_part_without_factors_keeps_zero_columns_beside_shared_ranks() -> None:
    rng = np.random.default_rng(1)
    a = rng.standard_normal((3, 6)).astype(np.float32)
    factors = {
        f"layers.0.{name}": Factors(a, rng.standard_normal((size, 3)).astype(np.float32), 2.0)
        for name, size in (("q", 5), ("v", 4))
    }
    packed = pack_adapter(Adapter(factors), [WIDE])
    assert packed["a"].shape == (1, 6, 3)
    assert not packed["b"][:, :, 5:8].any()
    np.testing.assert_allclose(delta(packed, WIDE), block_diagonal(Adapter(factors), WIDE), atol=1e-5)


def test_a_that_differs_in_its_last_number_is_not_shared() -> None:
    rng = np.random.default_rng(2)
    factors = {
        part.module: Factors(np.ones((2, 6), np.float32), rng.standard_normal((part.out_features, 2)), 1.0)
        for part in WIDE.parts
    }
    factors["layers.0.k"].a[-1, -1] = np.nextafter(np.float32(1), np.float32(2))
    packed = pack_adapter(Adapter(factors), [WIDE])
    assert packed["a"].shape == (1, 6, 4)
    np.testing.assert_allclose(delta(packed, WIDE), block_diagonal(Adapter(factors), WIDE), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_factors_of_other_precisions_give_the_same_slots(tmp_path: Path, dtype: torch.dtype) -> None:
    save_peft(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    rounded = {name: value.to(dtype) for name, value in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(rounded, path)
    found = pack_adapter(read_adapter(tmp_path), SLOTS)
    safetensors.torch.save_file({name: value.float() for name, value in rounded.items()}, path)
    expected = pack_adapter(read_adapter(tmp_path), SLOTS)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_numbers_too_large_for_float32_are_refused(tmp_path: Path) -> None:
    save_peft(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = {name: value.double() for name, value in safetensors.torch.load_file(path).items()}
    tensors["base_model.model.layers.0.k.lora_A.weight"][0, 0] = 1e300
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(AdapterError, match=r"k\.lora_A\.weight holds numbers that are not finite"):
        read_adapter(tmp_path)


def test_large_numbers_whose_squares_overflow_are_still_finite(tmp_path: Path) -> None:
    save_peft(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors["base_model.model.layers.0.k.lora_A.weight"][0, 0] = 3e38
    safetensors.torch.save_file(tensors, path)
    assert read_adapter(tmp_path).factors["layers.0.k"].a.max() == np.float32(3e38)


def test_blends_add_up_and_rows_stay_apart(tmp_path: Path) -> None:
    save_peft(tmp_path / "x", r=2)
    save_peft(tmp_path / "y", r=5, target_modules=["q", "o"])
    x, y = (pack_adapter(read_adapter(tmp_path / name), SLOTS) for name in "xy")
    blend = blend_packed([(x, 0.7), (y, -2.0)], SLOTS)
    none = blend_packed([], SLOTS)
    rows = stack_packed([y, none, blend], SLOTS)
    for slot in SLOTS:
        np.testing.assert_allclose(delta(blend, slot), 0.7 * delta(x, slot) - 2.0 * delta(y, slot), atol=1e-5)
        assert none[slot.a].shape == (1, slot.in_features, 0)
        assert rows[slot.a].shape[0] == 3
        for row, packed in enumerate([y, none, blend]):
            np.testing.assert_allclose(delta(rows, slot, row), delta(packed, slot), atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"use_dora": True}, "it uses DoRA"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_bias": True}, "LoRA biases"),
        ({"alora_invocation_tokens": [-1]}, "alora_invocation_tokens is [-1]"),
        ({"init_lora_weights": "pissa"}, "changes the base"),
        ({"init_lora_weights": "later"}, "'later', an unknown start, which may have changed the base"),
        ({"peft_type": "VERA"}, "`edgelora adapter convert` and `edgelora export --merge` take more kinds"),
        ({"r": 0}, "r is 0"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"alpha_pattern": {"q": "x"}}, "alpha_pattern"),
        ({"r": 3}, "ranks of A and B are 4 and 4, the config says 3"),
        ({"use_dora": True, "bias": "all"}, "DoRA; bias is 'all'"),
    ],
)
def test_what_is_not_plain_lora_is_refused(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    save_peft(tmp_path)
    change_config(tmp_path, **fields)
    with pytest.raises(AdapterError, match=re.escape(message)):
        read_adapter(tmp_path)


def test_odd_tensors_are_all_listed(tmp_path: Path) -> None:
    save_peft(tmp_path)
    tensors = read_safetensors(tmp_path / "adapter_model.safetensors")
    tensors["base_model.model.embed.lora_embedding_A"] = np.ones((2, 2), np.float32)
    del tensors["base_model.model.layers.0.q.lora_B.weight"]
    tensors["base_model.model.layers.0.k.lora_A.weight"][0, 0] = np.nan
    write_safetensors(tmp_path / "adapter_model.safetensors", tensors)
    with pytest.raises(AdapterError, match=r"lora_embedding_A is no LoRA factor.*not finite.*layers\.0\.q: lora_B is"):
        read_adapter(tmp_path)


def test_what_nobody_reads_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_peft(tmp_path)
    change_config(tmp_path, use_later=True, gone=None, eva_config={"rho": 2.0})
    path = tmp_path / "adapter_model.safetensors"
    tensors = read_safetensors(path)
    write_safetensors(
        path, {**tensors, "layers.0.q.lora_A.weight": tensors["base_model.model.layers.0.q.lora_A.weight"]}
    )
    told = [
        "layers.0.q has lora_A twice, under two names",
        "adapter_config.json has 'use_later', which this release does not know and leaves unread",
    ]
    assert list(read_adapter(tmp_path).notes) == told
    manifest = dataclasses.replace(read_manifest(TINY), slots=SLOTS)
    with caplog.at_level("WARNING"):
        open_adapter(tmp_path, manifest, "adapter x")
    assert caplog.messages == [f"adapter x: {line}" for line in told]
    write_safetensors(path, {**tensors, "layers.0.q.lora_A.weight": np.ones((4, 6), np.float32)})
    with pytest.raises(AdapterError, match="lora_A twice, under two names"):
        read_adapter(tmp_path)


def test_pickles_are_named_and_not_opened(tmp_path: Path) -> None:
    save_peft(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"but adapter_model\.bin, which can run code when it is opened; save"):
        read_adapter(tmp_path)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"has no adapter_config\.json"):
        read_adapter(tmp_path)
    save_peft(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"abc")
    with pytest.raises(AdapterError, match="truncated"):
        read_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match="safe_serialization"):
        read_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(AdapterError, match="not JSON"):
        read_adapter(tmp_path)


def test_adapters_that_do_not_fit_are_refused_with_the_full_list(tmp_path: Path) -> None:
    save_peft(tmp_path)
    adapter = read_adapter(tmp_path)
    elsewhere = (Slot("x", "x.a", "x.b", 6, 6, (SlotPart("model.o", 0, 6),)),)
    with pytest.raises(AdapterError, match=r"none of its 3 modules.*layers\.0\.k, layers\.0\.o, layers\.0\.q"):
        fit_adapter(adapter, elsewhere, "x")
    with pytest.raises(AdapterError, match=r"1 of its 3 modules.*missing: layers\.0\.k, layers\.0\.q"):
        fit_adapter(adapter, SLOTS[1:], "x")
    wider = (
        Slot("0.qk", "a", "b", 7, 8, SLOTS[0].parts),
        Slot("0.o", "c", "d", 5, 9, (SlotPart("layers.0.o", 0, 9),)),
    )
    with pytest.raises(AdapterError, match=r"k maps 6 to 3 features, expected 7 to 3;.*o maps 5 to 6.*expected 5 to 9"):
        fit_adapter(adapter, wider, "x")
    save_peft(tmp_path / "zero", init_lora_weights=True)
    with pytest.raises(AdapterError, match="changes nothing"):
        fit_adapter(read_adapter(tmp_path / "zero"), SLOTS, "x")


def test_specs() -> None:
    assert parse_spec("none") == ()
    assert parse_spec("a") == (("a", 1.0),)
    assert parse_spec("a:0.5") == (("a", 0.5),)
    assert parse_spec(" a:0.7 + b-2:-0.3 ") == (("a", 0.7), ("b-2", -0.3))


@pytest.mark.parametrize("text", ["", "+", "a+", "a:", "a:x", "a:nan", "a:inf", ":0.5", "a b", "none+a", "a:0.5:1", 3])
def test_malformed_specs(text: str) -> None:
    with pytest.raises(AdapterError, match="adapter SPEC"):
        parse_spec(text)


BAD_NAMES = [
    "",
    "none",
    "a+b",
    "a:b",
    "a/b",
    "a b",
    "..",
    ".",
    ".hidden",
    "a\\b",
    "ä",
    "a\n",
    "a\0",
    "-rf",
    "_a",
    "x" * 65,
]


@pytest.mark.parametrize("name", [*BAD_NAMES, 3, None])
def test_names_that_a_spec_a_shell_or_a_disk_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(AdapterError, match=r"adapter name .* cannot be used; start with a letter or digit"):
        check_name(name)


def test_any_other_name_is_taken() -> None:
    for name in ("a", "A.b-c_1", "7", "none2", "x" * 64):
        check_name(name)
