"""Which layers are merged under which limits, and when a merge is refused; made-up figures give exact answers."""

from collections.abc import Callable, Mapping

import pytest

from edgelora.adapter.survival import Survival
from edgelora.errors import AdapterError, ConfigError
from edgelora.merging.merge_policy import (
    FACTORED,
    Choices,
    Limits,
    Option,
    check_budgets,
    choose,
    refuse_lossy,
)

Options = Mapping[str, Mapping[str, Option]]
_FIXED = Option(0.0, 1000, 2.0)


def _layer(int4: float, int8: float) -> Mapping[str, Option]:
    """Factors take 40 bytes and 0.4 ms; int8 takes 20 bytes and 0.1 ms more than int4."""
    return {
        FACTORED: Option(0.0, 140, 0.5),
        "int4": Option(int4, 100, 0.1),
        "int8": Option(int8, 120, 0.2),
    }


_OPTIONS = {"0": _layer(0.001, 0.0001), "1": _layer(0.5, 0.01), "2": _layer(2.0, 1.0)}


def _sum(options: Options, surplus: float = 1.0) -> Callable[[Choices], float]:
    return lambda choices: surplus * sum(options[layer][label].kl for layer, label in choices.items())


def _choose(limits: Limits, surplus: float = 1.0) -> Choices:
    return choose(_OPTIONS, limits, _sum(_OPTIONS, surplus), _FIXED).choices


def test_each_layer_gets_the_smallest_form_that_kl_allows() -> None:
    decision = choose(_OPTIONS, Limits(0.05), _sum(_OPTIONS), _FIXED)
    assert decision.choices == {"0": "int4", "1": "int8", "2": FACTORED}
    assert decision.kl == pytest.approx(0.011)
    assert decision.bytes == 1000 + 100 + 120 + 140
    assert decision.ms == pytest.approx(2.0 + 0.1 + 0.2 + 0.5)
    assert decision.layers["0"].reason.startswith("saves 0.000 MB for about")
    assert decision.layers["2"].kl == 0
    assert "int4 alone costs 2 nats, which --max-kl 0.05 leaves no room for" in decision.layers["2"].reason


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(0.0), ["factored", "factored", "factored"]),
        (Limits(1e9), ["int4", "int4", "int4"]),
        (Limits(0.05, max_bytes=1420), ["factored", "factored", "factored"]),  # met as it is
        (Limits(0.05, max_bytes=1400), ["int8", "factored", "factored"]),  # enough, and cheaper than int4
        (Limits(0.05, max_bytes=1380), ["int4", "factored", "factored"]),
        (Limits(0.05, max_ms=2.9), ["int4", "int8", "factored"]),
        (Limits(0.05, max_bytes=1420, max_ms=3.3), ["int8", "factored", "factored"]),
    ],
)
def test_budgets_take_no_more_than_they_need(limits: Limits, expected: list[str]) -> None:
    assert list(_choose(limits).values()) == expected


def test_what_is_measured_together_decides_and_not_the_sum() -> None:
    # Twice the sum: 0.01 in layer 1 passes 0.015 beside layer 0's, though the parts alone would fit.
    assert _choose(Limits(0.015), surplus=2.0) == {"0": "int4", "1": FACTORED, "2": FACTORED}


def test_a_form_that_saves_nothing_is_not_taken() -> None:
    options = {"0": {FACTORED: Option(0.0, 110), "int4": Option(9.0, 100), "int8": Option(0.0, 150)}}
    decision = choose(options, Limits(0.05), _sum(options), _FIXED)
    assert decision.choices == {"0": FACTORED}
    assert "int8 takes 0.000 MB more than the factors" in decision.layers["0"].reason


def test_unmet_budgets_are_named_with_what_was_reached() -> None:
    limits = Limits(0.05, max_bytes=2_000_000, max_ms=5.0)
    check_budgets(limits, 2_000_000, 5.0, 0.01)
    with pytest.raises(
        ConfigError, match=r"--budget-mb 2: reached 2\.500 MB and --budget-ms 5: reached 6\.000 ms, wit"
    ):
        check_budgets(limits, 2_500_000, 6.0, 0.01)
    with pytest.raises(ConfigError, match=r"meets --budget-ms 5: reached 6\.000 ms, with a KL of 0\.0100 nats"):
        check_budgets(limits, 1, 6.0, 0.01)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--max-kl is -1, expected a number from 0"):
        Limits(-1)
    with pytest.raises(ConfigError, match=r"--budget-ms is nan"):
        Limits(0.05, max_ms=float("nan"))


def test_a_merge_that_rounds_away_is_refused_with_its_figures() -> None:
    refuse_lossy(Survival(1.3, 0.47, 0.93, 100), "adapter")
    with pytest.raises(
        AdapterError,
        match=r"correlates 0\.08 with .*, 0\.1 % of the codes change, a step is 20\.9 times the delta; use",
    ):
        refuse_lossy(Survival(20.9, 0.0006, 0.08, 100), "adapter")
