"""Figures of the web benchmark, from turns whose medians and ratios are known."""

import numpy as np
import pytest

from benchmarks.web.distance import distance
from benchmarks.web.report import ADAPTED, OURS, THEIRS, WLLAMA, WLLAMA_ADAPTED, spread, summarize

ROUNDS = [
    {
        OURS: {"prefill_ms": 1000.0, "decode_ms": 30.0 * slow},
        ADAPTED: {"prefill_ms": 2000.0, "decode_ms": 36.0 * slow},
        THEIRS: {"prefill_ms": 500.0, "decode_ms": 40.0 * slow},
        WLLAMA: {"prefill_ms": 250.0, "decode_ms": 20.0 * slow},
        WLLAMA_ADAPTED: {"prefill_ms": 400.0, "decode_ms": 50.0 * slow},
    }
    for slow in (1.0, 2.0, 4.0)
]
THREADS = {
    "2": {
        "backends": {"edgelora": "wasm", "transformers": "transformers.js", "wllama": "wllama"},
        "loads": {
            "edgelora": [{"first_ms": 100.0, "again_ms": 50.0}],
            "transformers": [{"first_ms": 200.0, "again_ms": 150.0}],
            "wllama": [{"first_ms": 90.0, "again_ms": 40.0}],
        },
        "memory": {
            "edgelora": {"loaded": 180_000_000, "after": 260_000_000},
            "transformers": {"loaded": 430_000_000, "after": 440_000_000},
            "wllama": {"loaded": 170_000_000, "after": 180_000_000},
        },
        "rounds": ROUNDS,
        "swaps": [0.1, 0.2, 0.3],
        "switches": [20.0, -1.0, 30.0],
        "first_swap_ms": 66.6,
    }
}


def test_ratios_are_made_round_by_round() -> None:
    found = summarize(THREADS, prompt_tokens=128)["2"]
    assert found["decode_over_transformers"][OURS] == {"median": 0.75, "p10": 0.75, "p90": 0.75}
    assert found["decode_over_transformers"][ADAPTED]["median"] == 0.9
    assert found["decode_ms"][THEIRS]["median"] == 80
    assert found["prefill_tokens_per_s"][OURS]["median"] == 128
    assert found["prefill_over_transformers"][ADAPTED]["median"] == 0.25
    assert found["memory_mb"]["transformers"] == {"loaded": 430, "after": 440}
    assert found["prefill_over_transformers"][WLLAMA]["median"] == 2
    assert found["decode_over_transformers"][WLLAMA_ADAPTED]["median"] == 1.25
    assert found["wllama_swap_ms"]["median"] == 20
    assert spread([1, 2, 3])["median"] == 2


def test_distance_is_zero_for_the_model_itself_and_right_for_another() -> None:
    logits = np.array([[0, 0], [2, 0]], np.float32)
    assert distance(logits + 5, logits) == {"kl": 0, "same_top": 1}
    other = np.array([[np.log(3), 0], [0, 2]], np.float32)  # 3/4 and 1/4 where the reference has 1/2; then swapped
    p = 1 / (1 + np.exp(-2))
    expected = (0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25) + (2 * p - 1) * 2) / 2
    found = distance(other, logits)
    assert found["kl"] == pytest.approx(expected, abs=1e-4)
    assert found["same_top"] == 0.5
