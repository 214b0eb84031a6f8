"""What a comparison decides by itself: which adapters may be used again, how seeds become a row, where labels stand.

Knows nothing about models.
"""

import dataclasses
import itertools
import json

import pytest

from edgelora.compare.adapters import Lines, differences
from edgelora.compare.arms import FLOAT, GRID, Settings, list_arms
from edgelora.compare.plot import draw, spread_labels
from edgelora.compare.report import command_line
from edgelora.compare.score import Score
from edgelora.compare.storage import read_json, read_result, write_result
from edgelora.compare.summary import over, summarize
from edgelora.errors import ConfigError, DataError
from edgelora.evaluation.score import task_metric
from edgelora.grid.make import Grid, parse_quant
from edgelora.training.recipe import Recipe
from edgelora_runtime.receipt import Receipt

OPTIONS = Recipe(rank=8, max_steps=120, batch_size=4, learning_rate=2e-3, max_length=192)
LINES = Lines(1226, "d" * 64)


def grid_of(quant, base="b" * 64, fingerprint="f" * 64):
    return Grid(None, parse_quant(quant), {}, {}, base, fingerprint)


def old_receipt(**changed):
    """One of version 1, from before lessons, residual starts and automatic ranks were recorded."""
    training = {**OPTIONS.record(), "rows": 1226, "data_sha256": "d" * 64, "steps": 120, "loss": 0.1}
    for name in ("init", "rank_auto_energy"):
        del training[name]
    return Receipt("smol", "b" * 64, "f" * 64, {"bits": 4}, {**training, **changed})


def test_an_old_receipt_is_held_to_the_fields_it_has():
    assert differences(old_receipt(), grid_of("int4"), OPTIONS, LINES) == []
    assert differences(dataclasses.replace(old_receipt(), grid=None), grid_of("none"), OPTIONS, LINES) == []


@pytest.mark.parametrize(
    ("receipt", "quant", "said"),
    [
        (old_receipt(seed=1), "int4", "seed 1, now 0"),
        (old_receipt(max_steps=60), "int4", "max_steps 60, now 120"),
        (old_receipt(rows=1225), "int4", "rows 1225, now 1226"),
        (old_receipt(data_sha256="e" * 64), "int4", "data_sha256 e"),
        (old_receipt(start_from="a" * 64), "int4", "start_from a"),
        (old_receipt(lesson="distil"), "int4", "lesson distil, now completions"),
        (old_receipt(init="residual"), "int4", "init residual, now zero"),
        (
            dataclasses.replace(old_receipt(), fingerprint="a" * 64),
            "int4",
            "base aaaaaaaaaaaa (smol), now bbbbbbbbbbbb",
        ),
        (dataclasses.replace(old_receipt(), grid="a" * 64), "int4", "grid aaaaaaaaaaaa, now ffffffffffff"),
        (dataclasses.replace(old_receipt(), grid=None), "int4", "grid None, now ffffffffffff"),
        (old_receipt(), "none", "grid ffffffffffff, now None"),
        (dataclasses.replace(old_receipt(), training={}), "int4", "no record of its rows"),
    ],
)
def test_any_difference_is_named(receipt, quant, said):
    (found,) = differences(receipt, grid_of(quant), OPTIONS, LINES)
    assert found.startswith(said)


def scores():
    """Losses of three seeds; the quantized arms lie above float by the same amount with every seed."""
    above = {"base-float": 2.0, "base-grid": 2.5, "float": 0.0, "float-merged": 0.09, "float-factored": 0.02,
             "grid": 0.01, "grid-gptq": 0.005}  # fmt: skip
    found = {}
    for arm in list_arms(["gptq"]):
        seeds = {None: 0.0} if arm.trained_on is None else {0: 0.3, 1: 0.1, 2: 0.2}
        size = 500_000_000 if arm.values == FLOAT else 100_000_000
        found[arm.name] = {
            seed: Score(loss + above[arm.name], 9, 5, {"exact_match": loss, "accuracy": loss, "labels": 3}, size)
            for seed, loss in seeds.items()
        }
    return found


def test_differences_are_paired_by_seed_so_that_their_range_is_not_that_of_the_seeds():
    found = {row.arm.name: row for row in summarize(list_arms(["gptq"]), scores(), {}).arms}
    assert found["grid"].loss.median == pytest.approx(0.21)
    assert found["grid"].loss.most - found["grid"].loss.least == pytest.approx(0.2)
    apart = found["grid"].loss_over_float
    assert (apart.median, apart.least, apart.most) == pytest.approx((0.01, 0.01, 0.01))
    assert found["base-grid"].loss_over_float.least == pytest.approx(2.2)
    assert found["float"].loss_over_float is None
    assert over([3.0, 1.0, 2.0]) == dataclasses.replace(over([2.0]), least=1.0, most=3.0)


def test_the_metric_is_that_of_the_task():
    assert summarize(list_arms(["gptq"]), scores(), {}).metric == "accuracy"
    assert task_metric({"exact_match": 0.1, "json_valid": 1.0, "field_f1": 0.2}) == "field_f1"
    assert task_metric({"exact_match": 0.1}) == "exact_match"
    assert task_metric({"exact_match": None}) is None


def test_labels_keep_their_order_and_their_distance():
    for heights in ([0.5, 0.5, 0.5], [0.99, 0.98, 1.0, 0.1], [0.0], [0.2, 0.9, 0.21, 0.19]):
        placed = spread_labels(heights, 0.08)
        ordered = sorted(placed)
        assert all(b - a >= 0.08 - 1e-9 for a, b in itertools.pairwise(ordered))
        assert sorted(range(len(heights)), key=lambda i: heights[i]) == sorted(
            range(len(heights)), key=lambda i: placed[i]
        )
        assert max(placed) <= 1
    assert spread_labels([0.2, 0.6], 0.08) == [0.2, 0.6]


def test_the_plot_is_800_pixels_wide_with_or_without_a_metric():
    summary = summarize(list_arms(["gptq"]), scores(), {})
    both, alone = draw(summary, "two"), draw(dataclasses.replace(summary, metric=None), "one")
    width, height, lower = (int.from_bytes(part, "big") for part in (both[16:20], both[20:24], alone[20:24]))
    assert (width, height) == (800, 2 * lower)


def test_a_result_counts_for_what_it_depends_on_alone(tmp_path):
    path = tmp_path / "deep" / "score.json"
    write_result(path, {"grid": "a", "seeds": (0, 1)}, {"loss": 0.1})
    assert read_result(path, {"grid": "a", "seeds": (0, 1)}) == {"loss": 0.1}
    assert read_result(path, {"grid": "b", "seeds": (0, 1)}) is None
    assert read_result(tmp_path / "none.json", {}) is None
    assert [item.name for item in path.parent.iterdir()] == ["score.json"]
    path.write_text("[1]")
    with pytest.raises(DataError, match="expected an object; delete it"):
        read_json(path)
    path.write_text(json.dumps({"a": 1})[:-2])
    with pytest.raises(DataError, match="not JSON"):
        read_json(path)


def test_settings_refuse_what_cannot_be_compared_and_spell_their_command(tmp_path):
    settings = Settings("m.gguf", tmp_path / "a b.jsonl", tmp_path / "h.jsonl", OPTIONS, (0, 2), methods=())
    said = command_line(settings, tmp_path / "out")
    assert said.startswith(f"edgelora compare m.gguf '{tmp_path}/a b.jsonl' --eval-data")
    assert "--method none --seeds 0,2 --rank 8 --max-steps 120" in said
    assert settings.options_of(2).seed == 2
    assert settings.plan("gptq").method == "gptq"
    assert [arm.values for arm in list_arms(["gptq"])].count(GRID) == 4
    for wrong in ({"seeds": ()}, {"seeds": (-1,)}, {"methods": ("gptq", "gptq")}, {"methods": ("best",)},
                  {"quant": "fp16"}, {"block_size": 31}):  # fmt: skip
        with pytest.raises(ConfigError):
            dataclasses.replace(settings, **wrong)
