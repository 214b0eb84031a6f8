import pytest

from edgelora.cli.bars import BARS
from edgelora.progress import StepReport


def report(step: int) -> StepReport:
    return StepReport(step=step, total=2, loss=0.5, tokens_per_s=10.0, eval_loss=None)


def test_a_bar_of_steps_is_shown_when_it_knows_how_many_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with BARS.training("first") as tell:
        assert capsys.readouterr().err == ""
        tell(report(1))
        assert "first:   0%" in capsys.readouterr().err
        tell(report(2))
    shown = capsys.readouterr().err
    assert "first: 100%" in shown
    assert "2/2 [" in shown


def test_a_run_that_fails_before_its_first_step_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no rows"), BARS.training("first"):
        raise ValueError("no rows")
    assert capsys.readouterr().err == ""
