"""The built-in text: enough positions for every kind of model, and no row that both calibrates and measures."""

from pathlib import Path

import pytest

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.varied_text import calibration_ids, measured_ids
from edgelora_runtime.text import Tokenizer
from tests.tiny import write_checkpoint


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return open_tokenizer(open_checkpoint(str(write_checkpoint(tmp_path_factory.mktemp("text") / "base"))))


@pytest.mark.parametrize("context", [16, 100, 8192])
@pytest.mark.parametrize("with_text", [True, False])
def test_at_least_five_hundred_positions_are_measured(tokenizer: Tokenizer, context: int, with_text: bool) -> None:
    rows = measured_ids(tokenizer if with_text else None, 259, context)
    assert sum(map(len, rows)) >= 500
    assert all(0 < len(row) <= context for row in rows)
    assert len(rows) > 4, "one text alone has one genre"
    assert all(0 <= token < 259 for row in rows for token in row)


def test_what_calibrates_does_not_measure(tokenizer: Tokenizer) -> None:
    calibrating, measuring = calibration_ids(tokenizer, 259, 512), measured_ids(tokenizer, 259, 512)
    assert len(calibrating) == 60
    assert not {row[:40] for row in calibrating} & {row[:40] for row in measuring}


def test_a_template_that_refuses_talks_is_left_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    picky = Tokenizer.from_text(
        tokenizer_json(tmp_path), "{{ raise_exception('no talks') }}",
        bos_token=None, eos_token="<|im_end|>", pad_token=None, unk_token=None,
    )  # fmt: skip
    assert sum(map(len, measured_ids(picky, 259, 512))) >= 500


def tokenizer_json(folder: Path) -> str:
    files = open_checkpoint(str(write_checkpoint(folder / "base"))).tokenizer
    assert files is not None
    return files.tokenizer_json


def test_a_model_without_a_tokenizer_is_calibrated_too() -> None:
    rows = calibration_ids(None, 50, 32)
    assert sum(map(len, rows)) >= 500
    assert rows != measured_ids(None, 50, 32)
    assert {token for row in rows for token in row} <= set(range(50))
