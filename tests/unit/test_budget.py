"""Bits for each linear: what a budget buys, in which order, and what happens when it buys nothing."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from edgelora.errors import ConfigError
from edgelora.grid.bits import Budget, group_tensors, plan_bits
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.grid.moments import Calibration
from edgelora.values import FloatArray, QuantSpec
from tests.parity.architectures import TorchCheckpoint

HIDDEN, WIDE = 64, 96
INT2 = parse_quant("int2")


def base(loud: str = "", seed: int = 0) -> TorchCheckpoint:
    """Two layers of random weights; with ``loud``, all but that one hold -1, 0 and 1, which 2 bits store exactly."""
    rng = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (40, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(2):
        stem = f"model.layers.{layer}"
        shapes |= {f"{stem}.self_attn.{kind}_proj.weight": (HIDDEN, HIDDEN) for kind in "qkvo"}
        shapes |= {f"{stem}.mlp.{kind}_proj.weight": (WIDE, HIDDEN) for kind in ("gate", "up")}
        shapes[f"{stem}.mlp.down_proj.weight"] = (HIDDEN, WIDE)
    tensors = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    if loud:
        tensors = {key: value if key == loud else np.sign(np.rint(value)) for key, value in tensors.items()}
    return TorchCheckpoint("tiny", {}, tensors)


def widths(checkpoint: TorchCheckpoint, **limit: float) -> dict[str, int]:
    found = plan_bits(checkpoint, INT2, Budget(**limit))
    return {name: item.bits for item in found.choices for name in item.tensors}


def test_a_budget_in_bits_holds_for_the_linears_and_is_spent() -> None:
    found = plan_bits(base(), INT2, Budget(bits=3.0))
    bits = plan_grid(base(), found.plan).bits_by_kind()
    assert bits["linears"] == pytest.approx(found.reached, abs=1e-3)
    assert 2.8 < found.reached <= 3.0
    assert bits["embedding"] == 4.5
    assert set(Counter(item.bits for item in found.choices)) == {2, 4}
    assert all(spec == QuantSpec(4) for spec in found.plan.overrides.values())


@pytest.mark.parametrize("option", ["bits", "megabytes"])
def test_more_budget_never_means_more_error(option: str) -> None:
    checkpoint = base()
    limits = np.linspace(2.65, 8.6, 25) if option == "bits" else np.linspace(0.1, 0.25, 25)
    found = [plan_bits(checkpoint, INT2, Budget(**{option: float(limit)})) for limit in limits]
    errors = [item.error for item in found]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 5
    assert all(item.reached <= limit for item, limit in zip(found, limits, strict=True))


def test_the_sensitive_linear_is_widened_first() -> None:
    name = "model.layers.1.self_attn.o_proj.weight"
    got = widths(base(name), bits=2.75)
    assert {tensor for tensor, bits in got.items() if bits > 2} == {name}


def test_calibration_moves_the_bits_to_inputs_that_are_used() -> None:
    checkpoint = base()
    linears = [name for name in checkpoint.names() if name.endswith("_proj.weight")]
    # Every input alike, but the inputs of one linear are those where all blocks' rounding errors add up.
    loud = "model.layers.0.mlp.down_proj.weight"
    hessians = {name: np.eye(checkpoint.shape(name)[1], dtype=np.float32) for name in linears}
    weight = checkpoint.read(loud)
    moved = plan_grid(checkpoint, INT2).value(loud) - weight
    worst = np.linalg.svd(moved)[2][0]  # the input direction that rounding disturbs most
    hessians[loud] = np.outer(worst, worst).astype(np.float32)
    calibration = Calibration("0" * 64, 1, 1, hessians)
    first = plan_bits(checkpoint, INT2, Budget(bits=2.8), calibration=calibration)
    assert {name for item in first.choices if item.bits > 2 for name in item.tensors} == {loud}
    plain = plan_bits(checkpoint, INT2, Budget(bits=2.8))
    assert {item.tensors: item.errors[2] for item in plain.choices}[(loud,)] < max(
        item.errors[2] for item in first.choices
    )


def test_what_is_packed_together_gets_equal_specs() -> None:
    names = base().names()
    groups = {frozenset(name.split(".")[-2] for name in members) for members in group_tensors(names)}
    assert frozenset({"q_proj", "k_proj", "v_proj"}) in groups
    assert frozenset({"gate_proj", "up_proj"}) in groups
    got = widths(base("model.layers.0.self_attn.k_proj.weight"), bits=3.2)
    for layer in range(2):
        assert len({got[f"model.layers.{layer}.self_attn.{kind}_proj.weight"] for kind in "qkv"}) == 1
        assert len({got[f"model.layers.{layer}.mlp.{kind}_proj.weight"] for kind in ("gate", "up")}) == 1


def test_quant_is_the_narrowest_that_a_budget_gives() -> None:
    found = plan_bits(base(), parse_quant("int4"), Budget(bits=5.5))
    assert {item.bits for item in found.choices} == {4, 8}
    assert all(spec.bits == 8 for spec in found.plan.overrides.values())
    assert found.plan.label == "int4"


def test_symmetry_is_that_of_the_width_unless_said_otherwise() -> None:
    for symmetric in (True, False):
        plan = parse_quant("int2", 32, symmetric)
        found = plan_bits(base(), plan, Budget(bits=3.5), symmetric)
        assert {spec.symmetric for spec in plan_grid(base(), found.plan).specs.values()} == {symmetric} | {
            plan_grid(base(), plan).specs["model.embed_tokens.weight"].symmetric
        }


def test_codes_that_the_file_has_already_cost_no_error() -> None:
    class Packed(TorchCheckpoint):
        def packed(self, name: str):  # type: ignore[no-untyped-def]
            return grid.matrices.get(name)

    grid = plan_grid(base(), parse_quant("int4"))
    values = {name: grid.value(name) for name in base().names()}
    found = plan_bits(Packed("packed", {}, values), INT2, Budget(bits=9.0))
    assert {item.bits for item in found.choices} == {4}
    assert found.error == 0.0


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        (
            {"bits": 2.5},
            "--budget-bits is 2.5, but tiny takes at least 2.618 bits for a linear weight with --quant int2",
        ),
        ({"megabytes": 0.001}, "--budget-mb is 0.001, but tiny takes at least 0."),
    ],
)
def test_an_impossible_budget_names_the_smallest_that_works(limit: dict[str, float], line: str) -> None:
    with pytest.raises(ConfigError) as told:
        plan_bits(base(), INT2, Budget(**limit))
    assert line in str(told.value)
    least = float(str(told.value).split("at least ")[1].split()[0])
    name = "bits" if "bits" in limit else "megabytes"
    assert {item.bits for item in plan_bits(base(), INT2, Budget(**{name: least})).choices} <= {2, 4}


def test_budgets_that_say_nothing_are_refused() -> None:
    for limits in ({}, {"bits": 3.0, "megabytes": 10.0}):
        with pytest.raises(ConfigError, match="not both"):
            Budget(**limits)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="expected a number above 0"):
            Budget(megabytes=wrong)
    with pytest.raises(ConfigError, match="--quant fp16 keeps floats"):
        plan_bits(base(), parse_quant("fp16"), Budget(bits=3.0))


def test_every_choice_says_why() -> None:
    found = plan_bits(base("model.layers.0.mlp.down_proj.weight"), INT2, Budget(bits=3.0))
    for item in found.choices:
        assert item.reason.startswith(
            "2 bits would cost" if item.bits > 2 else ("4 bits would save", "more bits would not")
        ), item.reason
        assert list(item.errors) == [2, 4, 8]
        assert item.costs[2] < item.costs[4] < item.costs[8]


def test_what_the_model_answers_outweighs_what_a_linear_puts_out() -> None:
    asked: list[tuple[str, ...]] = []
    checkpoint = base()
    loud = "model.layers.0.mlp.down_proj.weight"

    def change(values: Mapping[str, FloatArray]) -> float:
        asked.append(tuple(values))
        grid = plan_grid(checkpoint, INT2)
        assert all((values[name] == grid.value(name)).all() for name in values)
        return 1.0 if loud in values else 0.01

    found = plan_bits(checkpoint, INT2, Budget(bits=2.8), change=change)
    assert {name for item in found.choices if item.bits > 2 for name in item.tensors} == {loud}
    assert asked == [item.tensors for item in found.choices]
    assert [item.errors[2] for item in found.choices if item.tensors == (loud,)] == [pytest.approx(1.0)]
    assert found.unit == "nats"
    assert next(item.reason for item in found.choices if item.bits > 2).startswith("2 bits would cost 1.0000 nats")
