"""Packed adapters of the native runtime are those of the Python runtime, byte for byte, for both graphs."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.grid_of_factors import round_to_codes
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.packers import FusedPacker, Packer, SlotPacker
from edgelora_runtime.packing import Packed
from edgelora_runtime.safetensors import map_safetensors, write_safetensors
from tests.conformance_check import FOLDER

NAMES = ("one", "four", "eight")
STORES = ("float32", "float16", "int8")


def stored(folder: Path, adapter: Path, store: str) -> Path:
    """A copy of an adapter whose factors are exact in ``store``."""
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    tensors = {}
    for name, value in map_safetensors(adapter / "adapter_model.safetensors").items():
        rows = value if ".lora_A." in name else value.T  # a row for each rank
        if store == "float16":
            rows = rows.astype(np.float16).astype(np.float32)
        elif store == "int8":
            codes, scales = round_to_codes(rows)
            rows = codes * scales[:, None]
        tensors[name] = np.ascontiguousarray(rows if ".lora_A." in name else rows.T, np.float32)
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    return folder


def lines(what: str, packed: Packed) -> Iterator[str]:
    for name, value in packed.items():
        array = np.ascontiguousarray(value)
        shape = ",".join(map(str, array.shape))
        yield f"{what} {name} [{shape}] {hashlib.sha256(array.tobytes()).hexdigest()}"


def expected(packer: Packer, folders: list[Path]) -> list[str]:
    packed = [packer.pack(read_adapter(folder, with_gains=True)) for folder in folders]
    weights = [0.5, -1.25, 2.0][: len(packed)]
    blend = packer.blend([(packed[0], 0.5), (packed[-1], weights[-1])])
    told = [line for index, item in enumerate(packed) for line in lines(f"adapter {index}", item)]
    told += lines("blend", packer.blend(list(zip(packed, weights, strict=True))))
    return told + list(lines("rows", packer.stack([*packed, blend, packer.blend([])])))


@pytest.mark.parametrize("form", ["slots", "fused"])
@pytest.mark.parametrize("artifact", ["tiny-float", "tiny-int4"])
def test_packed_bytes(artifact: str, form: str, built: Path, tmp_path: Path) -> None:
    folders = [
        stored(tmp_path / f"{name}-{store}", FOLDER / artifact / "adapters" / name, store)
        for name, store in zip(NAMES, STORES, strict=True)
    ]
    slots = read_manifest(FOLDER / artifact).slots
    command = [built / "pack", FOLDER / artifact, form, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    packer = SlotPacker(slots) if form == "slots" else FusedPacker(slots)
    assert done.stdout.splitlines() == expected(packer, folders)


@pytest.mark.parametrize("form", ["slots", "fused"])
def test_packed_gains(form: str, built: Path, tmp_path: Path) -> None:
    manifest = json.loads((FOLDER / "tiny-float" / "manifest.json").read_text())
    for slot in manifest["slots"][:-1]:  # the last has no place for them
        slot["gain"] = f"{slot['name']}.gain"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    slots = read_manifest(tmp_path).slots
    folders = [
        with_gains(stored(tmp_path / name, FOLDER / "tiny-float" / "adapters" / name, store), seed)
        for seed, (name, store) in enumerate(zip(NAMES, STORES, strict=True))
    ]
    done = subprocess.run([built / "pack", tmp_path, form, *folders], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    packer = SlotPacker(slots) if form == "slots" else FusedPacker(slots)
    assert sorted(done.stdout.splitlines()) == sorted(expected(packer, folders))


def with_gains(folder: Path, seed: int) -> Path:
    """The adapter as DoRA of a grid."""
    rng = np.random.default_rng(seed)
    tensors = dict(map_safetensors(folder / "adapter_model.safetensors"))
    for name, b in list(tensors.items()):
        if ".lora_B." in name:
            gain = rng.standard_normal(len(b)).astype(np.float32)
            tensors[name.replace(".lora_B.", ".lora_gain.")] = gain
    write_safetensors(folder / "adapter_model.safetensors", {name: np.array(item) for name, item in tensors.items()})
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"peft_type": "EDGELORA_DORA", "edgelora_grid": "0f" * 32}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_each_store_has_a_block_of_its_own_kind(tmp_path: Path) -> None:
    slots = read_manifest(FOLDER / "tiny-float").slots
    kinds = []
    for store in STORES:
        folder = stored(tmp_path / store, FOLDER / "tiny-float" / "adapters" / "four", store)
        kinds.append(int(FusedPacker(slots).pack(read_adapter(folder))["adapter.factors"].view(np.int32)[0]))
    assert kinds == [0, 1, 2]
