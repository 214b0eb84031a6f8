"""Factored DoRA against PEFT's own forward on the values that ship, in every runtime that an artifact is for."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.grid.make import Grid
from edgelora.grid.row_codes import as_rows
from edgelora.progress import SILENT
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.choose_grid import GridChoice, evened, grid_maker
from edgelora.values import Checkpoint, FloatArray
from edgelora_runtime import load
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.manifest import file_info, read_manifest
from edgelora_runtime.receipt import Receipt, read_receipt, write_receipt
from edgelora_runtime.safetensors import map_safetensors
from tests.operator_library import operator_library
from tests.parity.peft_kinds import IDS, Kind, base_model, lora, make_adapter, torch_logits
from tests.parity.peft_matrix import ask_cpp, ask_javascript, far

Ask = Callable[[Path, list[str]], Mapping[str, FloatArray]]

_OF_GPT2 = ["c_attn", "c_proj", "c_fc"]
KINDS = {
    "llama": (
        Kind("ranks", lora(use_dora=True, rank_pattern={"q_proj": 64, "up_proj": 1, "k_proj": 2})),
        Kind("stable", lora(use_dora=True, use_rslora=True, r=1)),
        Kind("half", lora(use_dora=True, target_modules=["v_proj", "down_proj"])),
        Kind("plain", lora()),
    ),
    "qwen2": (Kind("bias", lora(use_dora=True)), Kind("part", lora(use_dora=True, target_modules=["k_proj"]), "qwen2")),
    "gpt2": (Kind("conv", lora(use_dora=True, target_modules=_OF_GPT2, fan_in_fan_out=True), "gpt2"),),
}
BATCH = ["ranks", "none", "plain", "stable:0.5", "half:0.7+ranks:-0.3+plain:0.2"]


def _ask_python(artifact: Path, specs: list[str], operator: Path | bool = False) -> Mapping[str, FloatArray]:
    with load(artifact, operator=operator) as model:
        return {spec: model.logits(IDS, adapter=spec) for spec in specs}


RUNTIMES: Mapping[str, Ask] = {
    "python": _ask_python,
    "javascript": lambda artifact, specs: ask_javascript(artifact, *specs),
    "cpp": lambda artifact, specs: ask_cpp(artifact, *specs),
    "python, fused": lambda artifact, specs: _ask_python(artifact, specs, operator_library()),
    "cpp, fused": lambda artifact, specs: ask_cpp(artifact, *specs, operators=operator_library()),
}


@dataclasses.dataclass(frozen=True)
class Made:
    """A base with its adapters, and what PEFT answers on the values of a grid."""

    base: Path
    adapters: Mapping[str, Path]
    artifacts: dict[str, Path] = dataclasses.field(default_factory=dict)

    def artifact(self, quant: str, target: str = "cpu") -> Path:
        """With every adapter in it, made when it is first asked for."""
        out = self.base.parent / f"{self.base.name}.{quant}.{target}"
        if not out.exists():
            given = [word for name, folder in self.adapters.items() for word in ("--adapter", f"{name}={folder}")]
            options = ["--quant", quant, "--accuracy-level", "0", "--target", target]
            assert main(["export", str(self.base), "-o", str(out), *options, *given]) == 0
        return out

    def expected(self, quant: str, specs: list[str]) -> dict[str, FloatArray]:
        """PEFT's own forward where a SPEC is a name; else that of weights with the sum of what PEFT merges."""
        checkpoint = open_checkpoint(str(self.base))
        grid = grid_of(checkpoint, quant)
        found = {}
        for spec in specs:
            model = load_torch(checkpoint, grid)
            if spec in self.adapters:
                model = peft.PeftModel.from_pretrained(model, str(self.adapters[spec])).eval()
            elif spec != "none":
                before = {key: value.clone() for key, value in model.state_dict().items()}
                total = {key: torch.zeros_like(value) for key, value in before.items()}
                for term in spec.split("+"):
                    name, _, weight = term.partition(":")
                    fresh = load_torch(checkpoint, grid)
                    merged = peft.PeftModel.from_pretrained(fresh, str(self.adapters[name])).merge_and_unload()
                    for key, value in merged.state_dict().items():
                        total[key] += float(weight or 1) * (value - before[key])
                model.load_state_dict({key: value + total[key] for key, value in before.items()})
            found[spec] = torch_logits(model)
        return found


def grid_of(checkpoint: Checkpoint, quant: str) -> Grid:
    """The grid that `edgelora export` makes."""
    return grid_maker(GridChoice(quant), SILENT)(checkpoint)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Made]:
    root = tmp_path_factory.mktemp("dora")
    bases = {}
    for base, kinds in KINDS.items():
        base_model(base).save_pretrained(root / base)
        adapters = {kind.name: root / f"{base}.adapters" / kind.name for kind in kinds}
        for kind in kinds:
            make_adapter(dataclasses.replace(kind, base=base), adapters[kind.name])
        if "half" in adapters:
            _as_halves(adapters["half"])
        bases[base] = Made(root / base, adapters)
    return bases


def _as_halves(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("quant", ["none", "int4"])
@pytest.mark.parametrize("base", KINDS)
def test_dora_beside_the_weights_gives_the_logits_of_peft(
    made: Mapping[str, Made], base: str, quant: str, runtime: str
) -> None:
    specs = ["none", *made[base].adapters]
    expected = made[base].expected(quant, specs)
    found = RUNTIMES[runtime](made[base].artifact(quant), specs)
    assert {spec: far(found[spec], expected[spec]) for spec in specs if far(found[spec], expected[spec]) > 1e-4} == {}
    assert all(far(expected[spec], expected["none"]) > 0.01 for spec in specs[1:])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_blends_add_up_what_each_does_to_the_base(made: Mapping[str, Made], runtime: str) -> None:
    expected = made["llama"].expected("int4", BATCH)
    found = RUNTIMES[runtime](made["llama"].artifact("int4"), BATCH)
    assert {spec: far(found[spec], expected[spec]) for spec in BATCH if far(found[spec], expected[spec]) > 1e-4} == {}


@pytest.mark.parametrize("quant", ["fp16", "int8", "int2"])
def test_other_grids(made: Mapping[str, Made], quant: str) -> None:
    specs = ["none", *made["qwen2"].adapters]
    expected, found = made["qwen2"].expected(quant, specs), _ask_python(made["qwen2"].artifact(quant), specs)
    assert max(far(found[spec], expected[spec]) for spec in specs) <= 1e-4


@pytest.mark.parametrize("fused", [False, True])
def test_rows_of_a_batch_have_adapters_of_their_own(made: Mapping[str, Made], fused: bool) -> None:
    with load(made["llama"].artifact("int4"), operator=operator_library() if fused else False) as model:
        rows = [IDS[row:] for row in range(len(BATCH))]
        together = model.generate_ids(rows, adapter=BATCH, max_new_tokens=6)
        alone = [model.generate_ids(ids, adapter=spec, max_new_tokens=6) for ids, spec in zip(rows, BATCH, strict=True)]
        assert together == alone
        assert len({tuple(answer) for answer in together}) > 1


def test_linears_of_codes_take_gains_too(made: Mapping[str, Made], tmp_path: Path) -> None:
    """At accuracy level 4 the fused graph has slots in its linears, whose activations are rounded in both graphs."""
    base, out = made["llama"], tmp_path / "out"
    options = ["--quant", "int4", "--adapter", f"ranks={base.adapters['ranks']}"]
    assert main(["export", str(base.base), "-o", str(out), *options]) == 0
    specs = ["none", "ranks", "ranks:0.5"]
    slots, fused = _ask_python(out, specs), _ask_python(out, specs, operator_library())
    apart = {spec: far(fused[spec], slots[spec]) for spec in specs}
    assert max(apart.values()) <= 3 * apart["none"] + 1e-3
    assert far(slots["ranks"], slots["none"]) > 0.3
    assert main(["verify", str(out)]) == 0


def test_the_graph_of_wasm_multiplies_with_its_own_bytes(made: Mapping[str, Made]) -> None:
    """Gains are of the 8-bit rows that this target stores, not of the blocks that those were made from."""
    base = made["qwen2"]
    out = base.base.parent / "rows"
    adapter = base.adapters["bias"]
    options = ["--quant", "int4", "--target", "web-wasm", "--adapter", f"bias={adapter}"]
    assert main(["export", str(base.base), "-o", str(out), *options]) == 0
    grid = evened(lambda checkpoint: grid_of(checkpoint, "int4"))(open_checkpoint(str(base.base)))
    model = peft.PeftModel.from_pretrained(load_torch(grid.checkpoint, as_rows(grid)), str(adapter)).eval()
    with load(out, operator=False) as found:
        logits = found.logits(IDS[:12], adapter="bias")  # a short call, whose activations have 16 bits
    assert far(logits, torch_logits(model)[:12]) <= 2e-3


@pytest.mark.parametrize("store", ["float16", "int8"])
def test_stores_round_factors_and_keep_gains(made: Mapping[str, Made], tmp_path: Path, store: str) -> None:
    base, out = made["llama"], tmp_path / "out"
    options = ["--quant", "none", "--accuracy-level", "0", "--adapter", f"ranks={base.adapters['ranks']}"]
    assert main(["export", str(base.base), "-o", str(out), *options, "--store", store]) == 0
    tensors = map_safetensors(out / "adapters" / "ranks" / "adapter_model.safetensors")
    gains = {name: tensor.dtype.name for name, tensor in tensors.items() if ".lora_gain" in name}
    assert set(gains.values()) == {"float32"}
    assert len(gains) == 14
    expected = base.expected("none", ["ranks"])["ranks"]
    found = _ask_python(out, ["ranks"])["ranks"]
    assert 1e-6 < far(found, expected) < 0.05
    fused = _ask_python(out, ["ranks"], operator_library())["ranks"]  # which multiplies codes where they are exact
    assert far(fused, found) < 1e-4


def test_an_artifact_without_a_place_says_what_to_do(
    made: Mapping[str, Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, out, dora = made["qwen2"], tmp_path / "plain", made["qwen2"].adapters["bias"]
    options = ["--quant", "int4", "--accuracy-level", "0"]
    assert main(["export", str(base.base), "-o", str(out), *options]) == 0
    assert all(slot.gain is None for slot in read_manifest(out).slots)
    capsys.readouterr()
    assert main(["adapter", "add", str(out), f"dora={dora}"]) == 2
    told = "is DoRA, and the slots of this artifact have no place for its gains; export it again with --dora, or with"
    assert told in capsys.readouterr().err
    converted = base.artifact("int4") / "adapters" / "bias"
    assert main(["adapter", "add", str(out), f"dora={converted}"]) == 2
    assert told in capsys.readouterr().err


def test_an_artifact_with_a_place_takes_it_later(
    made: Mapping[str, Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, dora = made["qwen2"], made["qwen2"].adapters["bias"]
    options = ["--quant", "int4", "--accuracy-level", "0", "--dora"]
    assert main(["export", str(base.base), "-o", str(tmp_path / "out"), *options]) == 0
    _give_receipt(dora, tmp_path / "told", read_manifest(tmp_path / "out").base.fingerprint)
    assert main(["adapter", "add", str(tmp_path / "out"), f"dora={tmp_path / 'told'}", "--json"]) == 0
    done = json.loads(capsys.readouterr().out.strip().rpartition("\n")[2])
    assert "DoRA's magnitudes as gains on grid" in done["converted"][0]
    added = tmp_path / "out" / "adapters" / "dora"
    receipt = read_receipt(added)
    assert receipt is not None
    assert receipt.weights == file_info(added / "adapter_model.safetensors").sha256
    expected = base.expected("int4", ["bias"])["bias"]
    assert far(_ask_python(tmp_path / "out", ["dora"])["dora"], expected) <= 1e-4

    convert = ["adapter", "convert", str(dora), "-o", str(tmp_path / "gains")]
    assert main(convert) == 2
    assert "is DoRA, which follows from the values that ship; give the artifact" in capsys.readouterr().err
    assert main([*convert, "--base", str(tmp_path / "out")]) == 0
    with load(tmp_path / "out", operator=False) as model:
        model.load_adapter("given", tmp_path / "gains")
        assert far(model.logits(IDS, adapter="given"), expected) <= 1e-4
        with pytest.raises(AdapterError, match="it uses DoRA; expected plain LoRA as PEFT saves it; `edgelora adapter"):
            model.load_adapter("raw", dora)
    with load(base.artifact("int8"), operator=False) as model:
        grid, other = (read_manifest(path).base.grid[:12] for path in (tmp_path / "out", base.artifact("int8")))
        words = f"its DoRA was converted for grid {grid}, this artifact has {other}; add it from the folder that PEFT"
        with pytest.raises(AdapterError, match=words):
            model.load_adapter("given", tmp_path / "gains")
    with pytest.raises(KeyError):  # PEFT, which knows no gains, does not open it
        peft.PeftModel.from_pretrained(base_model("qwen2"), str(tmp_path / "gains"))


def _give_receipt(source: Path, folder: Path, fingerprint: str) -> None:
    folder.mkdir()
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / file).write_bytes((source / file).read_bytes())
    weights = file_info(folder / "adapter_model.safetensors").sha256
    write_receipt(folder, Receipt("qwen2", fingerprint, weights=weights))


def test_a_receipt_of_other_factors_is_refused(
    made: Mapping[str, Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = made["qwen2"]
    _give_receipt(base.adapters["bias"], tmp_path / "told", read_manifest(base.artifact("int4")).base.fingerprint)
    other = base.adapters["part"] / "adapter_model.safetensors"
    (tmp_path / "told" / "adapter_model.safetensors").write_bytes(other.read_bytes())
    config: Any = json.loads((base.adapters["part"] / "adapter_config.json").read_text())
    (tmp_path / "told" / "adapter_config.json").write_text(json.dumps(config))
    assert main(["adapter", "add", str(base.artifact("int4")), f"other={tmp_path / 'told'}"]) == 2
    assert "the receipt belongs to other factors" in capsys.readouterr().err


def test_the_whole_artifact_is_verified(made: Mapping[str, Made], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(made["llama"].artifact("int4"))]) == 0
    assert "adapter ranks" in capsys.readouterr().out


def test_what_is_more_than_dora_is_refused(
    made: Mapping[str, Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = made["llama"]
    folder = tmp_path / "odd"
    make_adapter(Kind("saved", lora(use_dora=True, modules_to_save=["lm_head"])), folder)
    assert main(["adapter", "add", str(base.artifact("int4")), f"odd={folder}"]) == 2
    assert "modules_to_save" in capsys.readouterr().err
    make_adapter(Kind("table", lora(use_dora=True, target_modules=["q_proj", "embed_tokens"])), tmp_path / "table")
    assert main(["adapter", "add", str(base.artifact("int4")), f"table={tmp_path / 'table'}"]) == 2
    assert "embed_tokens" in capsys.readouterr().err
    assert np.isfinite(_ask_python(base.artifact("int4"), ["ranks"])["ranks"]).all()
