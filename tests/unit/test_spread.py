"""The default of int4: what a vocabulary of 4 bits frees goes to the linears, and a file's own codes stay."""

from __future__ import annotations

import pytest

from edgelora.checkpoint.names import is_vocabulary
from edgelora.grid.blocks import quantize
from edgelora.grid.make import plan_grid
from edgelora.grid.spread import NARROW, SPECS
from edgelora.torch_model.choose_grid import GridChoice, choose_grid
from edgelora.values import QuantizedMatrix, QuantSpec
from tests.parity.architectures import checkpoint_of, random_model


def _stored(grid: object) -> int:
    matrices = grid.matrices.values()  # type: ignore[attr-defined]
    return sum(
        item.packed.nbytes + 2 * item.scales.size + (0 if item.zero_points is None else item.zero_points.nbytes)
        for item in matrices
    )


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_the_default_takes_no_more_bytes_than_equal_linears_and_a_vocabulary_of_8_bits(family: str) -> None:
    checkpoint = checkpoint_of(random_model(family), family)
    spread = choose_grid(checkpoint, GridChoice("int4")).grid
    uniform = choose_grid(checkpoint, GridChoice("int4", method="ranges")).grid
    assert _stored(spread) <= _stored(uniform)
    for name, spec in spread.specs.items():
        assert spec == NARROW if is_vocabulary(name) else spec in SPECS
    assert SPECS[1] in spread.specs.values()


def test_the_default_comes_out_the_same_twice_and_from_its_own_plan() -> None:
    checkpoint = checkpoint_of(random_model("llama"), "llama")
    first, second = (choose_grid(checkpoint, GridChoice("int4")).grid for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.plan == second.plan


def test_linears_that_an_artifact_packs_together_get_the_same_bits() -> None:
    specs = choose_grid(checkpoint_of(random_model("llama"), "llama"), GridChoice("int4")).grid.specs
    for name in specs:
        if name.endswith("q_proj.weight"):
            assert specs[name] == specs[name.replace("q_proj", "k_proj")] == specs[name.replace("q_proj", "v_proj")]


@pytest.mark.parametrize(
    "choice",
    [
        GridChoice("int4", block_size=32),
        GridChoice("int4", symmetric=False),
        GridChoice("int4", method="ranges"),
        GridChoice("int4", embedding_bits=8),
    ],
)
def test_an_option_of_the_grid_gives_every_linear_the_same(choice: GridChoice) -> None:
    specs = choose_grid(checkpoint_of(random_model("llama"), "llama"), choice).grid.specs
    assert {spec for name, spec in specs.items() if not is_vocabulary(name)} == {QuantSpec(4, 32, symmetric=False)}


def test_codes_of_4_bits_that_a_file_has_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = checkpoint_of(random_model("llama"), "llama")
    own = {
        name: quantize(checkpoint.read(name), QuantSpec(4, 32))
        for name in plan_grid(checkpoint, choose_grid(checkpoint, GridChoice("int8")).grid.plan).matrices
    }

    def packed(_self: object, name: str) -> QuantizedMatrix | None:
        return own.get(name)

    monkeypatch.setattr(type(checkpoint), "packed", packed)
    grid = choose_grid(checkpoint, GridChoice("int4")).grid
    assert {name: matrix is own[name] for name, matrix in grid.matrices.items()} == dict.fromkeys(own, True)
    assert not grid.errors
