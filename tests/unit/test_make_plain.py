"""Folders of other kinds as plain LoRA: names, fused projections, mlx-lm, pooling, ranks that are cut."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora.adapter.convert import convert
from edgelora.adapter.foreign.stored import Base
from edgelora.adapter.make_plain import CONVERSION_FILE, make_plain, plain_folder
from edgelora.adapter.plain import write_plain
from edgelora.cli import main
from edgelora.errors import AdapterError, ConfigError
from edgelora_runtime.adapter import Factors, read_adapter
from edgelora_runtime.safetensors import write_safetensors

LAYER = "model.layers.0.self_attn"
UNFUSED = {f"{LAYER}.q_proj": (6, 8), f"{LAYER}.k_proj": (4, 8), f"{LAYER}.v_proj": (4, 8)}
FUSED = {f"{LAYER}.qkv_proj": (14, 8)}
RNG = np.random.default_rng(2)


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def write(folder: Path, tensors: Mapping[str, Any], file: str = "adapter_model.safetensors", **config: Any) -> Path:
    folder.mkdir(parents=True)
    write_safetensors(folder / file, dict(tensors))
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def write_lora(folder: Path, modules: Mapping[str, tuple[int, int]], rank: int = 2, **config: Any) -> Path:
    tensors = {}
    for module, (rows, columns) in modules.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = random(rank, columns)
        tensors[f"base_model.model.{module}.lora_B.weight"] = random(rows, rank)
    return write(folder, tensors, peft_type="LORA", r=rank, lora_alpha=3, **config)


def delta(item: Factors) -> np.ndarray:
    return item.delta()


def round_trip(folder: Path, base: Base, **options: Any) -> Mapping[str, Factors]:
    """What a reader finds in the folder that a conversion wrote."""
    conversion = make_plain(folder, base, **options)
    out = folder.with_name(folder.name + "-plain")
    write_plain(out, conversion.plain)
    return read_adapter(out).factors


def test_a_fused_projection_is_split_where_the_base_has_its_pieces(tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "x", FUSED)
    whole = delta(read_adapter(folder).factors[f"{LAYER}.qkv_proj"])
    found = round_trip(folder, Base(UNFUSED))
    assert found.keys() == UNFUSED.keys()
    stacked = np.concatenate([delta(found[module]) for module in UNFUSED])
    np.testing.assert_allclose(stacked, whole, atol=1e-6)
    assert len({item.a.tobytes() for item in found.values()}) == 1  # which a slot packs once


@pytest.mark.parametrize("pieces", [("q_proj", "k_proj", "v_proj"), ("q_proj",), ("k_proj",), ("q_proj", "v_proj")])
def test_pieces_are_stacked_where_the_base_has_them_fused(tmp_path: Path, pieces: tuple[str, ...]) -> None:
    modules = {f"{LAYER}.{piece}": UNFUSED[f"{LAYER}.{piece}"] for piece in pieces}
    folder = write_lora(tmp_path / "x", modules)
    own = read_adapter(folder).factors
    (found,) = round_trip(folder, Base(FUSED)).values()
    expected = np.zeros((14, 8), np.float32)
    for piece, start in (("q_proj", 0), ("k_proj", 6), ("v_proj", 10)):
        if piece in pieces:
            part = delta(own[f"{LAYER}.{piece}"])
            expected[start : start + len(part)] = part
    np.testing.assert_allclose(delta(found), expected, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "model.language_model.layers.0.self_attn",
        "language_model.model.layers.0.self_attn",
        "model.model.layers.0.self_attn",
        "_orig_mod.model.layers.0._orig_mod.self_attn",
        "module.model.layers.0.self_attn",
    ],
)
def test_other_prefixes_lead_to_the_modules_of_the_base(tmp_path: Path, name: str) -> None:
    folder = write_lora(tmp_path / "x", {f"{name}.q_proj": (6, 8)})
    with plain_folder(folder, Base(UNFUSED)) as plain:
        assert read_adapter(plain.path).factors.keys() == {f"{LAYER}.q_proj"}


def test_a_picture_encoder_is_not_taken_for_the_text_model(tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "x", {"vision_tower.encoder.layers.0.self_attn.q_proj": (6, 8)})
    with plain_folder(folder, Base(UNFUSED)) as plain:
        assert plain.path == folder


def test_a_plain_folder_is_left_alone(tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "x", UNFUSED)
    with plain_folder(folder, Base(UNFUSED)) as plain:
        assert plain.path == folder
        assert plain.steps == ()


def write_mlx(folder: Path, **config: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = random(8, 2), random(2, 6)
    tensors = {f"{LAYER}.q_proj.lora_a": a, f"{LAYER}.q_proj.lora_b": b}
    settings = {"fine_tune_type": "lora", "lora_parameters": {"rank": 2, "scale": 20.0}, **config}
    write(folder, tensors, "adapters.safetensors", model="a/b", num_layers=1, **settings)
    return a, b


def test_adapters_of_mlx_lm_are_turned_around(tmp_path: Path) -> None:
    a, b = write_mlx(tmp_path / "x")
    found = round_trip(tmp_path / "x", Base(UNFUSED))
    np.testing.assert_allclose(delta(found[f"{LAYER}.q_proj"]), 20 * (a @ b).T, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"fine_tune_type": "dora"}, "fine_tune_type is 'dora'"),
        ({"lora_parameters": {"rank": 2}}, "scale is None"),
        ({"lora_parameters": None}, "scale is None"),
    ],
)
def test_what_mlx_lm_writes_beside_lora_is_refused(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    write_mlx(tmp_path / "x", **config)
    with pytest.raises(AdapterError, match=re.escape(told)):
        make_plain(tmp_path / "x", Base(UNFUSED))


def test_pooled_inputs_are_written_into_a(tmp_path: Path) -> None:
    module = f"{LAYER}.q_proj"
    folder = write_lora(tmp_path / "x", {module: (6, 2)}, use_qalora=True, qalora_group_size=4)
    own = read_adapter(write_lora(tmp_path / "same", {module: (6, 2)})).factors[module]  # shapes alone are the same
    assert own.a.shape == (2, 2)
    with pytest.raises(AdapterError, match="name its base with --base"):
        make_plain(folder, Base())
    (found,) = round_trip(folder, Base(UNFUSED)).values()
    x = random(5, 8)
    pooled = x.reshape(5, 2, 4).mean(2) * 2  # as PEFT's GPTQ layers pool
    stored = make_plain(folder, Base({module: (6, 2)})).plain.adapter.factors[module]  # a width that pools nothing
    np.testing.assert_allclose(x @ delta(found).T, pooled @ delta(stored).T, rtol=1e-4, atol=1e-5)
    with pytest.raises(AdapterError, match="2 groups of 4, but the base has 9 inputs"):
        make_plain(folder, Base({module: (6, 9)}))


def write_loha(folder: Path, rank: int, size: int = 40) -> np.ndarray:
    parts = {name: random(*shape) for name, shape in (("w1_a", (size, rank)), ("w1_b", (rank, size)))}
    parts |= {name: random(*shape) for name, shape in (("w2_a", (size, rank)), ("w2_b", (rank, size)))}
    tensors = {f"base_model.model.m.hada_{name}": value for name, value in parts.items()}
    write(folder, tensors, peft_type="LOHA", r=rank, alpha=2 * rank)
    product: np.ndarray = 2 * (parts["w1_a"] @ parts["w1_b"]) * (parts["w2_a"] @ parts["w2_b"])
    return product


def test_a_rank_that_is_asked_for_is_kept_and_its_error_told(tmp_path: Path) -> None:
    product = write_loha(tmp_path / "x", 3)
    whole, cut = make_plain(tmp_path / "x", Base()), make_plain(tmp_path / "x", Base(), rank=4)
    assert whole.plain.adapter.rank == 9
    assert whole.error == 0
    np.testing.assert_allclose(whole.plain.adapter.factors["m"].delta(), product, atol=1e-3)
    assert cut.plain.adapter.rank == 4
    off = np.linalg.norm(cut.plain.adapter.factors["m"].delta() - product) / np.linalg.norm(product)
    assert cut.error == pytest.approx(off, rel=1e-3)
    assert f"off by {100 * cut.error:.3g} % at most" in cut.plain.notes[-1]
    assert cut.record()["errors"].keys() == {"m"}


def test_a_product_of_more_directions_than_a_device_bears_waits_for_a_rank(tmp_path: Path) -> None:
    write_loha(tmp_path / "x", 20, 300)
    with pytest.raises(AdapterError, match=r"m has rank 300 as plain LoRA, at most 256 .* give --rank: with 64"):
        make_plain(tmp_path / "x", Base())
    assert make_plain(tmp_path / "x", Base(), rank=8).plain.adapter.rank == 8
    with pytest.raises(ConfigError, match="rank is 0"):
        make_plain(tmp_path / "x", Base(), rank=0)


def test_a_start_needs_what_it_was_made_of(tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "x", UNFUSED, init_lora_weights="pissa")
    with pytest.raises(AdapterError, match="'pissa', which changed the base: give its model with --base"):
        make_plain(folder, Base(UNFUSED))
    corda = write_lora(tmp_path / "y", UNFUSED, init_lora_weights="corda")
    with pytest.raises(AdapterError, match="before the training; give its folder with --initial"):
        make_plain(corda, Base(UNFUSED))
    loftq = write_lora(tmp_path / "z", UNFUSED, init_lora_weights="loftq")
    with pytest.raises(AdapterError, match="export that base and set init_lora_weights to true"):
        make_plain(loftq, Base(UNFUSED))
    other = write_lora(tmp_path / "w", FUSED)
    with pytest.raises(AdapterError, match="is of other modules"):
        make_plain(folder, Base(UNFUSED), initial=other)


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapters.npz"])
def test_pickles_are_not_opened(tmp_path: Path, name: str) -> None:
    folder = write_lora(tmp_path / "x", UNFUSED)
    (folder / "adapter_model.safetensors").rename(folder / name)
    with pytest.raises(AdapterError, match=re.escape(f"{name} can run code when it is opened and is not read")):
        make_plain(folder, Base(UNFUSED))


def test_tensors_that_cannot_be_are_all_named(tmp_path: Path) -> None:
    tensors = {
        f"{LAYER}.q_proj.lora_A.weight": random(2, 8),
        f"base_model.model.{LAYER}.q_proj.lora_A.weight": random(2, 8),
    }
    tensors["model.norm.weight"] = np.array([np.nan], np.float32)
    folder = write(tmp_path / "x", tensors, peft_type="LORA", r=2, lora_alpha=3)
    with pytest.raises(
        AdapterError, match=r"lora_A\.weight is there twice.*norm\.weight holds numbers that are not finite"
    ):
        make_plain(folder, Base(UNFUSED))


def test_the_command_writes_what_was_done_beside_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_loha(tmp_path / "x", 3)
    words = ["adapter", "convert", str(tmp_path / "x"), "-o", str(tmp_path / "y"), "--rank", "4"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    record = json.loads((tmp_path / "y" / CONVERSION_FILE).read_text())
    assert told["rank"] == record["rank"] == 4
    assert told["relative_error"] == record["relative_error"] > 0
    assert told["notes"] == record["steps"]
    assert main(words) == 2
    assert "exists; choose another path" in capsys.readouterr().err


def test_a_plain_folder_keeps_its_bytes(tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "x", UNFUSED)
    convert(folder, tmp_path / "y")
    name = "adapter_model.safetensors"
    assert (tmp_path / "y" / name).read_bytes() == (folder / name).read_bytes()
    assert not (tmp_path / "y" / CONVERSION_FILE).exists()
