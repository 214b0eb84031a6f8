"""Heads that travel with adapters: what a folder may hold, whose labels count, and what the graph is fed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.head import blend_heads, find_untrained, find_wrong_head, pack_head, stack_heads
from edgelora_runtime.head_info import find_head_info
from edgelora_runtime.head_packer import HeadPacker
from edgelora_runtime.manifest import MULTI_LABEL, HeadInfo, HeadTensor, Slot, SlotPart
from edgelora_runtime.packers import FusedPacker, Packer, SlotPacker
from edgelora_runtime.receipt import Receipt, write_receipt
from edgelora_runtime.safetensors import write_safetensors

HEAD = (
    HeadTensor("pooler.dense.weight", "head.pooler", (6, 6)),
    HeadTensor("classifier.weight", "head.weight", (0, 6)),
    HeadTensor("classifier.bias", "head.bias", (0,)),
)
SLOTS = (Slot("q", "q.a", "q.b", 6, 6, (SlotPart("layer.0.q", 0, 6),)),)
RNG = np.random.default_rng(0)
BASE = {"pooler.dense.weight": RNG.standard_normal((6, 6)).astype(np.float32)}


def head(n_labels: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "classifier.weight": rng.standard_normal((n_labels, 6)).astype(np.float32),
        "classifier.bias": rng.standard_normal(n_labels).astype(np.float32),
    }


def write_folder(
    folder: Path,
    tensors: Mapping[str, np.ndarray],
    rank: int = 2,
    saved: Sequence[str] | None = ("classifier", "score"),
    middle: str = "",
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    renamed = {f"base_model.model.{name.replace('.', middle + '.', 1)}": value for name, value in tensors.items()}
    if rank:
        renamed["base_model.model.layer.0.q.lora_A.weight"] = np.ones((rank, 6), np.float32)
        renamed["base_model.model.layer.0.q.lora_B.weight"] = np.ones((6, rank), np.float32)
    write_safetensors(folder / "adapter_model.safetensors", renamed)
    config = {"peft_type": "LORA", "r": rank or 8, "lora_alpha": 4, "target_modules": ["q"] if rank else []}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"modules_to_save": saved}))
    return folder


def test_a_module_is_saved_by_any_ending_of_its_name(tmp_path: Path) -> None:
    """PEFT's own list for sequence classifiers is ["classifier", "score"], which trains DistilBERT's pre_classifier."""
    tensors = {f"pre_{name}": item for name, item in head(3).items() if name.startswith("classifier")}
    found = read_adapter(write_folder(tmp_path, {**head(3), **tensors}), with_head=True)
    assert set(tensors) <= set(found.head)


@pytest.mark.parametrize("middle", ["", ".modules_to_save", ".modules_to_save.default"])
@pytest.mark.parametrize("rank", [0, 1, 64])
def test_the_tensors_of_saved_modules_are_the_head(tmp_path: Path, middle: str, rank: int) -> None:
    found = read_adapter(write_folder(tmp_path, head(3), rank, middle=middle), with_head=True)
    assert found.head.keys() == {"classifier.weight", "classifier.bias"}
    np.testing.assert_array_equal(found.head["classifier.weight"], head(3)["classifier.weight"])
    assert found.rank == rank
    assert not find_wrong_head(found, HEAD, BASE)


def test_where_there_is_no_head_saved_modules_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"modules_to_save\), which only the head of an encoder can be"):
        read_adapter(write_folder(tmp_path, head(3)))
    with pytest.raises(AdapterError, match=r"classifier\.weight is no LoRA factor"):
        read_adapter(write_folder(tmp_path, head(3), saved=None), with_head=True)
    with pytest.raises(AdapterError, match="modules_to_save is 'classifier', expected a list of names"):
        read_adapter(write_folder(tmp_path, head(3), saved="classifier"), with_head=True)


def test_all_that_is_missing_or_misshapen_is_named_at_once(tmp_path: Path) -> None:
    tensors = {"classifier.weight": np.ones((3, 5), np.float32), "classifier.out.weight": np.ones(3, np.float32)}
    found = read_adapter(write_folder(tmp_path, tensors), with_head=True)
    lines = "; ".join(find_wrong_head(found, HEAD, {}))
    for text in (
        "classifier.out.weight is no tensor of this artifact's head (which has pooler.dense.weight, classifier.weight",
        "classifier.weight is [3, 5], expected [labels, 6]",
        "classifier.bias is missing, though modules_to_save asks for it",
        "pooler.dense.weight is neither in the adapter nor in the base",
    ):
        assert text in lines
    unlike = head(3) | {"classifier.bias": np.ones(4, np.float32)}
    found = read_adapter(write_folder(tmp_path, unlike), with_head=True)
    assert (
        "different numbers of labels (classifier.weight 3, classifier.bias 4)" in find_wrong_head(found, HEAD, BASE)[0]
    )


def test_a_head_alone_must_be_another_than_the_bases(tmp_path: Path) -> None:
    found = read_adapter(write_folder(tmp_path, head(3), rank=0), with_head=True)
    assert find_wrong_head(found, HEAD, BASE | head(3))[0].startswith("it changes nothing")
    assert not find_wrong_head(found, HEAD, BASE | head(3, seed=2))


@pytest.mark.parametrize("n_labels", [1, 2, 77])
def test_a_head_at_its_initial_values_is_told_from_a_trained_one(tmp_path: Path, n_labels: int) -> None:
    wide = (HeadTensor("classifier.weight", "w", (0, 64)), HeadTensor("classifier.bias", "b", (0,)))
    rng = np.random.default_rng(n_labels)
    fresh = {
        "classifier.weight": (0.02 * rng.standard_normal((n_labels, 64))).astype(np.float32),
        "classifier.bias": np.zeros(n_labels, np.float32),
    }
    found = read_adapter(write_folder(tmp_path, fresh), with_head=True)
    assert "its head is at its initial values (classifier.weight, classifier.bias" in str(find_untrained(found, wide))
    for name, value in (("classifier.bias", 1e-4), ("classifier.weight", 0.05)):
        changed = read_adapter(write_folder(tmp_path, fresh | {name: fresh[name] + np.float32(value)}), with_head=True)
        assert find_untrained(changed, wide) is None


def test_labels_come_from_receipt_manifest_caller_file_or_nowhere(tmp_path: Path) -> None:
    folder, ab = write_folder(tmp_path, head(2)), ("a", "b")
    assert find_head_info(folder, 2, "x") == HeadInfo(("LABEL_0", "LABEL_1"))
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "no", "1": "yes"}, "problem_type": MULTI_LABEL}))
    assert find_head_info(folder, 2, "x") == HeadInfo(("no", "yes"), MULTI_LABEL)
    assert find_head_info(folder, 2, "x", labels=ab) == HeadInfo(ab)
    trained = HeadInfo(ab, MULTI_LABEL, 1.5)
    assert find_head_info(folder, 2, "x", listed=trained) == trained
    write_receipt(folder, Receipt("base", "0" * 64, head=trained))
    assert find_head_info(folder, 2, "x", listed=HeadInfo(ab), labels=ab) == trained
    assert find_head_info(folder, 2, "x", trust=True) == HeadInfo(("no", "yes"), MULTI_LABEL)
    with pytest.raises(AdapterError, match="the manifest has 'b', 'a', but its receipt 'a', 'b'; the labels must be"):
        find_head_info(folder, 2, "x", listed=HeadInfo(("b", "a")))
    with pytest.raises(AdapterError, match="labels has 'a', 'b', 'c', but its receipt 'a', 'b'"):
        find_head_info(folder, 2, "x", labels=["a", "b", "c"])
    with pytest.raises(AdapterError, match="its head answers for 3 labels, but its receipt has 2"):
        find_head_info(folder, 3, "x")
    with pytest.raises(AdapterError, match="labels are 'a', 'a', expected different names"):
        find_head_info(folder, 2, "x", labels=["a", "a"])


@pytest.mark.parametrize("slots", [SlotPacker(SLOTS), FusedPacker(SLOTS)])
def test_heads_are_packed_blended_and_stacked_beside_the_slots(tmp_path: Path, slots: Packer) -> None:
    packer = HeadPacker(slots, HEAD, BASE, has_base_head=False)
    names = {"a": (2, 1), "b": (2, 64), "c": (77, 2)}
    heads = {name: head(count, seed) for seed, (name, (count, _)) in enumerate(names.items())}
    packed = {
        name: packer.pack(read_adapter(write_folder(tmp_path / name, heads[name], rank), with_head=True))
        for name, (_, rank) in names.items()
    }
    np.testing.assert_array_equal(packed["c"]["head.weight"][0], heads["c"]["classifier.weight"].T)
    assert packed["c"]["head.bias"].shape == (1, 1, 77)
    np.testing.assert_array_equal(packed["a"]["head.pooler"][0], BASE["pooler.dense.weight"].T)
    stacked = packer.stack([packed["a"], packed["c"]])
    assert stacked["head.weight"].shape == (2, 6, 77)
    assert not stacked["head.weight"][0, :, 2:].any()
    np.testing.assert_array_equal(stacked["head.bias"][1], packed["c"]["head.bias"][0])
    mixed = packer.blend([(packed["a"], 1.0), (packed["b"], 3.0)])
    expected = 0.25 * heads["a"]["classifier.bias"] + 0.75 * heads["b"]["classifier.bias"]
    np.testing.assert_allclose(mixed["head.bias"][0, 0], expected, rtol=1e-6)
    alone = packer.blend([(packed["a"], 0.5)])
    np.testing.assert_array_equal(alone["head.weight"], packed["a"]["head.weight"])
    assert not packer.blend([]).keys() & {"head.weight", "head.bias"}
    for item in packed.values():
        data = b"".join(bytes(part) for part in packer.to_buffers(item))
        again = packer.from_buffer(data)
        assert again is not None and again.keys() == item.keys()
        for name in item:
            np.testing.assert_array_equal(again[name], item[name])
        assert packer.from_buffer(data[:-4]) is None


def test_a_blend_whose_weights_add_up_to_nothing_has_no_head() -> None:
    packed = pack_head(BASE | head(2), HEAD)
    with pytest.raises(AdapterError, match="weights of the blend add up to 0"):
        blend_heads([(packed, 1.0), (packed, -1.0)], HEAD)
    assert stack_heads([packed], HEAD)["head.weight"].shape == (1, 6, 2)


def test_labels_of_any_length_are_refused_in_a_short_line(tmp_path: Path) -> None:
    labels: Any = ["a", list(range(400))]
    with pytest.raises(AdapterError, match=r"labels is .+, expected a list of names") as refused:
        find_head_info(write_folder(tmp_path, head(2)), 2, "it", labels=labels)
    assert len(str(refused.value)) < 300
