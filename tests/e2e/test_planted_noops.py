"""Every way known here in which an adapter can silently do nothing, or not what it should, is refused by name.

Each is planted into a folder that ``adapter add`` is given, and into an artifact that lists the adapter already.
"""

import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.errors import AdapterError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.training.finish_receipt import make_receipt
from edgelora_runtime import load
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
from tests.tiny import write_adapter, write_artifact, write_checkpoint

WEIGHTS = "adapter_model.safetensors"


def with_receipt(folder: Path, checkpoint: Path, quant: str = "int4") -> Path:
    make_receipt(open_checkpoint(str(checkpoint)), folder, functools.partial(plan_grid, plan=parse_quant(quant)))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("base") / "tiny-llama")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    return with_receipt(write_adapter(tmp_path_factory.mktemp("good") / "good"), base)


@pytest.fixture(scope="module", params=[0, 4], ids=["level 0", "level 4"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, base: Path, good: Path) -> Path:
    """Lists the good adapter; only for tests that copy it."""
    out = tmp_path_factory.mktemp("artifact") / "tiny"
    write_artifact(base, out, level=request.param, reference=False)
    add_adapter(out, "listed", good)
    return out


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in read_safetensors(folder / WEIGHTS).items()}


def change_tensors(folder: Path, change: Callable[[str, np.ndarray], tuple[str, np.ndarray] | None]) -> None:
    kept = (change(name, value) for name, value in tensors_of(folder).items())
    write_safetensors(folder / WEIGHTS, dict(item for item in kept if item is not None))


def change_json(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def sign(folder: Path) -> None:
    """Let the receipt name the factors as they are now, so that their hash tells nothing."""
    if (folder / "receipt.json").is_file():
        change_json(folder / "receipt.json", weights=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def wrong_names(folder: Path, _base: Path) -> None:
    change_tensors(folder, lambda name, value: (name.replace("model.layers", "decoder.blocks"), value))


def zero_b(folder: Path, _base: Path) -> None:
    change_tensors(folder, lambda name, value: (name, 0 * value if "lora_B" in name else value))


def truncated_file(folder: Path, _base: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def half_a_file(folder: Path, _base: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:300])


def alpha_zero(folder: Path, _base: Path) -> None:
    change_json(folder / "adapter_config.json", lora_alpha=0)


def alpha_next_to_zero(folder: Path, _base: Path) -> None:
    change_json(folder / "adapter_config.json", lora_alpha=1e-12)


def half_of_the_layers(folder: Path, _base: Path) -> None:
    change_tensors(folder, lambda name, value: None if "layers.1." in name else (name, value))


def one_module(folder: Path, _base: Path) -> None:
    change_tensors(folder, lambda name, value: None if "layers.1.mlp.up_proj" in name else (name, value))


def wrong_base(folder: Path, _base: Path) -> None:
    (folder / "receipt.json").unlink()
    with_receipt(folder, write_checkpoint(folder.parent / "other-llama", seed=9))


def wrong_grid(folder: Path, base: Path) -> None:
    (folder / "receipt.json").unlink()
    with_receipt(folder, base, "int8")


def factors_of_another(folder: Path, _base: Path) -> None:
    other = write_adapter(folder.parent / "other", seed=77)
    shutil.copyfile(other / WEIGHTS, folder / WEIGHTS)


def shuffled_layers(folder: Path, _base: Path) -> None:
    swap = {"layers.0.": "layers.1.", "layers.1.": "layers.0."}
    change_tensors(
        folder, lambda name, value: (next(name.replace(old, new) for old, new in swap.items() if old in name), value)
    )


def tenth_of_the_scale(folder: Path, _base: Path) -> None:
    change_json(folder / "adapter_config.json", lora_alpha=0.8)


def turned_sign(folder: Path, _base: Path) -> None:
    change_tensors(folder, lambda name, value: (name, -value if "lora_B" in name else value))


Plant = Callable[[Path, Path], None]
WITHOUT_RECEIPT: dict[str, tuple[Plant, str]] = {
    "wrong names": (wrong_names, r"none of its 14 modules are in this artifact"),
    "zero B": (zero_b, "changes nothing"),
    "truncated file": (truncated_file, "damaged|truncated"),
    "half a file": (half_a_file, "truncated"),
    "alpha 0": (alpha_zero, "lora_alpha is 0, expected a number above 0"),
    "scale 0": (alpha_next_to_zero, "changes nothing"),
    "half of the layers": (half_of_the_layers, r"7 of the 14 modules that its target_modules ask for have no factors"),
    "one module": (one_module, r"1 of the 14 modules .* model\.layers\.1\.mlp\.up_proj"),
}
WITH_RECEIPT: dict[str, tuple[Plant, str]] = {
    "wrong base": (wrong_base, "trained for another base: other-llama"),
    "wrong grid": (wrong_grid, "trained on another grid of tiny-llama: .*bits 8"),
    "factors of another": (factors_of_another, "the receipt belongs to other factors"),
}
# The factors are whole, their names and shapes right and their hash is that of the receipt: only the answers tell.
PROBED: dict[str, tuple[Plant, str]] = {
    "factors of another, signed": (factors_of_another, "does not do what its receipt says"),
    "shuffled layers": (shuffled_layers, "does not do what its receipt says"),
    "turned sign": (turned_sign, "does not do what its receipt says"),
    "a tenth of the scale": (tenth_of_the_scale, "does next to nothing here|does not do what its receipt says"),
}
ALL = {
    **{f"{name}, no receipt": (plant, match, False, True) for name, (plant, match) in WITHOUT_RECEIPT.items()},
    **{name: (plant, match, True, True) for name, (plant, match) in WITHOUT_RECEIPT.items()},
    **{name: (plant, match, True, False) for name, (plant, match) in WITH_RECEIPT.items()},
    **{name: (plant, match, True, True) for name, (plant, match) in PROBED.items()},
}


@pytest.mark.parametrize("name", ALL)
def test_adding_it_is_refused(
    name: str, artifact: Path, good: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant, match, has_receipt, is_signed = ALL[name]
    folder = Path(shutil.copytree(good, tmp_path / "planted"))
    if not has_receipt:
        (folder / "receipt.json").unlink()
    plant(folder, base)
    if is_signed:
        sign(folder)
    own = Path(shutil.copytree(artifact, tmp_path / "tiny"))
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    with pytest.raises(AdapterError, match=match):
        add_adapter(own, "new", folder)
    assert main(["adapter", "add", str(own), f"new={folder}"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ALL)
def test_loading_an_artifact_that_lists_it_is_refused(name: str, artifact: Path, base: Path, tmp_path: Path) -> None:
    plant, match, has_receipt, is_signed = ALL[name]
    own = Path(shutil.copytree(artifact, tmp_path / "tiny"))
    folder = own / "adapters/listed"
    if not has_receipt:
        (folder / "receipt.json").unlink()
    plant(folder, base)
    if is_signed:
        sign(folder)
    rehash(own)
    with pytest.raises(AdapterError, match=match) as caught:
        load(own, probe=True)
    assert "listed" in str(caught.value)
    assert "\n" not in str(caught.value)


def rehash(artifact: Path) -> None:
    """Let the manifest name every file as it is now."""
    data = json.loads((artifact / "manifest.json").read_text())
    for name in list(data["files"]):
        if not (artifact / name).is_file():
            del data["files"][name]
            continue
        content = (artifact / name).read_bytes()
        data["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (artifact / "manifest.json").write_text(json.dumps(data))


def cut_slots(graph_file: Path) -> int:
    """Leave the slot inputs where they are and let nothing listen to them; returns how many were cut."""
    model = onnx.load(graph_file, load_external_data=False)
    slots = {slot.b for slot in read_manifest(graph_file.parent).slots}
    deltas = {node.output[0] for node in model.graph.node if slots & set(node.input)}
    count = 0
    for node in model.graph.node:
        own = [name for name in node.input if name in deltas]
        if node.op_type == "Add" and own:
            rest = next(name for name in node.input if name not in deltas)
            node.op_type = "Identity"
            del node.input[:]
            node.input.append(rest)
            count += 1
    onnx.save(model, graph_file)
    return count


def test_a_graph_whose_slots_ignore_the_adapter_is_refused(artifact: Path, good: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(artifact, tmp_path / "tiny"))
    assert cut_slots(own / "decoder.onnx") == 8  # of four packed linears in two layers
    rehash(own)
    load(own)  # nothing else tells
    with pytest.raises(AdapterError, match=r"adapter 'listed' .*: it does nothing here"):
        load(own, probe=True)
    with pytest.raises(AdapterError, match="it does nothing here"):
        add_adapter(own, "new", good)
    assert not (own / "adapters/new").exists()


def test_the_good_adapter_passes_and_no_probe_lets_a_planted_one_in(
    artifact: Path, good: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(artifact, tmp_path / "tiny"))
    result = load(own, probe=True).probe("listed")
    assert result is not None
    assert result.passed
    assert result.kl_found == pytest.approx(result.kl_expected, rel=0.2)
    folder = Path(shutil.copytree(good, tmp_path / "planted"))
    shuffled_layers(folder, base)
    sign(folder)
    assert main(["adapter", "add", str(own), f"new={folder}", "--no-probe"]) == 0
    capsys.readouterr()
    with pytest.raises(AdapterError, match="adapter 'new'"):
        load(own, probe=True)


def test_an_adapter_trained_on_float_weights_passes_on_any_grid(artifact: Path, base: Path, tmp_path: Path) -> None:
    folder = with_receipt(write_adapter(tmp_path / "float"), base, "none")
    own = Path(shutil.copytree(artifact, tmp_path / "tiny"))
    add_adapter(own, "float", folder)
    assert load(own, probe=True).probe("float") is not None
