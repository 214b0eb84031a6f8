"""Which tensors are quantized, what ships, and the fingerprints that bind an adapter to it."""

import json

import numpy as np
import pytest

from edgelora.errors import ConfigError
from edgelora.grid.make import GridSpec, parse_quant, plan_grid
from edgelora.values import QuantSpec
from tests.parity.architectures import TorchCheckpoint


def _checkpoint(seed: int = 0, hidden: int = 64) -> TorchCheckpoint:
    rng = np.random.default_rng(seed)
    shapes = {
        "model.embed_tokens.weight": (20, hidden),
        "model.layers.0.self_attn.q_proj.weight": (16, hidden),
        "model.layers.0.self_attn.q_proj.bias": (16,),
        "model.layers.0.input_layernorm.weight": (hidden,),
        "transformer.h.0.attn.c_attn.weight": (hidden, 48),  # (in_features, out_features), as gpt2 stores it
        "transformer.wpe.weight": (8, hidden),
        "lm_head.weight": (20, hidden),
    }
    return TorchCheckpoint(
        "c", {}, {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    )


def test_linears_and_embeddings_are_quantized_and_nothing_else() -> None:
    grid = plan_grid(_checkpoint(), parse_quant("int2"))
    assert {name: (spec.bits, spec.symmetric) for name, spec in grid.specs.items()} == {
        "model.layers.0.self_attn.q_proj.weight": (2, False),
        "transformer.h.0.attn.c_attn.weight": (2, False),
        "model.embed_tokens.weight": (4, True),
        "lm_head.weight": (4, True),
    }


def test_an_embedding_of_broken_blocks_stays_float() -> None:
    grid = plan_grid(_checkpoint(hidden=72), parse_quant("int4"))
    assert "model.embed_tokens.weight" not in grid.specs
    assert "model.layers.0.self_attn.q_proj.weight" in grid.specs


def test_transposed_tensors_are_quantized_along_in_features() -> None:
    checkpoint = _checkpoint()
    name = "transformer.h.0.attn.c_attn.weight"
    grid = plan_grid(checkpoint, parse_quant("int4"))
    assert grid.matrix(name).out_features == 48
    assert grid.in_features(name) == 64
    assert grid.value(name).shape == (64, 48)
    assert np.abs(grid.value(name) - checkpoint.read(name)).max() < 0.5


@pytest.mark.parametrize("quant", ["none", "fp16", "int4"])
def test_fingerprint_depends_on_values_alone(quant: str) -> None:
    first, same = plan_grid(_checkpoint(), parse_quant(quant)), plan_grid(_checkpoint(), parse_quant(quant))
    other = plan_grid(_checkpoint(seed=1), parse_quant(quant))
    assert first.fingerprint == same.fingerprint != other.fingerprint
    assert first.base_fingerprint == same.base_fingerprint != other.base_fingerprint


def test_each_quantization_has_its_own_grid_over_one_base() -> None:
    grids = [plan_grid(_checkpoint(), parse_quant(quant)) for quant in ("none", "fp16", "int8", "int4", "int2")]
    grids.append(plan_grid(_checkpoint(), parse_quant("int4", block_size=16)))
    assert len({grid.fingerprint for grid in grids}) == len(grids)
    assert len({grid.base_fingerprint for grid in grids}) == 1


def test_half_rounds_matrices_and_leaves_vectors() -> None:
    checkpoint = _checkpoint()
    grid = plan_grid(checkpoint, parse_quant("fp16"))
    name = "lm_head.weight"
    assert (grid.value(name) == checkpoint.read(name).astype(np.float16).astype(np.float32)).all()
    for name in ("model.layers.0.input_layernorm.weight", "transformer.wpe.weight"):
        assert (grid.value(name) == checkpoint.read(name)).all()


def test_errors_and_bits_are_counted_as_they_are() -> None:
    grid = plan_grid(_checkpoint(), GridSpec("int4", QuantSpec(4, 32)))
    assert grid.bits_per_weight() == 4.5  # 4 bits and a bfloat16 scale for each 32
    assert set(grid.errors) == set(grid.matrices)
    assert 0.05 < grid.errors["lm_head.weight"] < 0.15


@pytest.mark.parametrize("text", ["int3", "INT4", ""])
def test_unknown_quant_is_refused_with_the_choices(text: str) -> None:
    with pytest.raises(ConfigError, match="choose one of none, fp16, int8, int4, int2"):
        parse_quant(text)


def test_overrides_give_single_tensors_bits_of_their_own() -> None:
    q, embedding, head = "model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight", "lm_head.weight"
    wider = {q: QuantSpec(8, 16), embedding: QuantSpec(2, 16, symmetric=False), head: QuantSpec(2, 64)}
    plan = GridSpec("int4", QuantSpec(4, 32), overrides=wider)
    grid = plan_grid(_checkpoint(), plan)
    assert (grid.specs[q], grid.specs[head]) == (wider[q], wider[head])
    assert grid.specs[embedding] == QuantSpec(4, 16)  # GatherBlockQuantized reads no 2 bits
    assert grid.specs["transformer.h.0.attn.c_attn.weight"] == plan.spec
    described = json.loads(json.dumps(grid.record()))
    assert described["overrides"][q] == {"bits": 8, "block_size": 16, "symmetric": True}
    assert (described["label"], described["method"], described["calibration"]) == ("int4", "rtn", None)
    assert grid.fingerprint != plan_grid(_checkpoint(), parse_quant("int4")).fingerprint


def test_an_overridden_embedding_of_broken_blocks_stays_float() -> None:
    plan = GridSpec("int4", QuantSpec(4, 32), overrides={"model.embed_tokens.weight": QuantSpec(8, 128)})
    assert "model.embed_tokens.weight" not in plan_grid(_checkpoint(), plan).specs


@pytest.mark.parametrize("name", ["model.layers.0.input_layernorm.weight", "model.layers.9.self_attn.q_proj.weight"])
def test_an_override_that_meets_no_linear_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no linear or embedding '{name}'"):
        plan_grid(_checkpoint(), GridSpec("int4", QuantSpec(4, 32), overrides={name: QuantSpec(8)}))


def test_methods_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="'awq'; choose one of rtn, ranges, gptq"):
        parse_quant("int4", method="awq")
    with pytest.raises(ConfigError, match="needs calibration"):
        plan_grid(_checkpoint(), parse_quant("int4", method="gptq"))
    with pytest.raises(ConfigError, match="keeps floats"):
        GridSpec("none", None, overrides={"lm_head.weight": QuantSpec(4)})


def test_a_float_grid_describes_itself_by_its_label() -> None:
    assert plan_grid(_checkpoint(), parse_quant("fp16")).record() == {"label": "fp16"}


def test_bits_are_told_apart_by_kind() -> None:
    grid = plan_grid(_checkpoint(), parse_quant("int2"))
    bits = grid.bits_by_kind()
    assert bits["embedding"] == 4.5
    # Two blocks of 32 for each of 64 rows: 16 bits of scale each, and a byte of zero points for both; the head has 4.5.
    assert bits["linears"] == round(((16 + 48) * (64 * 2 + 2 * 16 + 8) + 20 * 64 * 4.5) / (84 * 64), 3)
    assert bits["linears"] < bits["all"] < bits["embedding"]
    assert set(plan_grid(_checkpoint(), parse_quant("none")).bits_by_kind().values()) == {None}
