"""What a template writes on the device is what training saw: variables, dates, and how an adapter was trained."""

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.torch_model.choose_grid import read_sequences
from edgelora.training import run
from edgelora.training.resume import save_state
from tests.conformance_models import TEMPLATE, write_checkpoint

QWEN3 = TEMPLATE.replace(
    "<|assistant|>{% endif %}",
    "<|assistant|>{% if enable_thinking is defined and enable_thinking is false %}(none){% endif %}{% endif %}",
)
DATED = TEMPLATE.replace("{{ bos_token }}\n", "{{ bos_token }}{{ strftime_now('%d %b %Y') }}\n")
OPTIONS = ["--quant", "none", "--max-steps", "40", "--warmup", "1", "--learning-rate", "0.03", "--batch-size", "3"]


def call(*arguments: object) -> Any:
    """What the command says with --json, or the message of its error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(item) for item in arguments])
    if code:
        assert code == 2, err.getvalue()
        return " ".join(err.getvalue().split())
    return json.loads(out.getvalue())


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    pairs = (("left", "no"), ("right", "yes"), ("Погода", "maybe left"))
    path.write_text("\n".join(json.dumps({"prompt": a, "completion": b}) for a, b in pairs), encoding="utf-8")
    return path


def base(folder: Path, template: str) -> Path:
    write_checkpoint(folder, "tiny-float")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def test_an_adapter_is_scored_as_it_was_trained(tmp_path: Path, rows: Path) -> None:
    checkpoint = base(tmp_path / "base", QWEN3)
    artifact, variable = tmp_path / "artifact", ("--template-var", "enable_thinking=false")
    call("train", checkpoint, rows, "-o", tmp_path / "chat", *OPTIONS, *variable, "--date", "2026-02-01", "--json")
    call("train", checkpoint, rows, "-o", tmp_path / "raw", *OPTIONS, "--raw", "--json")
    training = json.loads((tmp_path / "chat/receipt.json").read_text(encoding="utf-8"))["training"]
    assert training["template_variables"] == {"enable_thinking": False}
    assert training["date"] == "2026-02-01"
    other = call("export", checkpoint, "-o", artifact, "--quant", "none", "--adapter", f"chat={tmp_path / 'chat'}")
    assert "enable_thinking=false" in other
    adapters = [item for name in ("chat", "raw") for item in ("--adapter", f"{name}={tmp_path / name}")]
    call("export", checkpoint, "-o", artifact, "--quant", "none", *variable, *adapters, "--json")
    manifest = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["tokenizer"]["template_variables"] == {"enable_thinking": False}
    for name in ("chat", "raw"):
        found = call("eval", artifact, rows, "--adapter", name, "--json")
        assert found["exact_match"] == 1.0, name
        assert found["loss"] < 0.6, name
        assert call("eval", artifact, rows, "--adapter", name, f"--{name}", "--json")["loss"] == found["loss"]
    assert call("eval", artifact, rows, "--adapter", "raw", "--chat", "--json")["loss"] > 2
    both = call("eval", artifact, rows, "--adapter", "raw:0.5+chat:0.5")
    assert "give --raw or --chat" in both
    asked = ("run", artifact, "--prompt", "left", "--adapter", "chat", "--json")
    assert call(*asked)["results"][0]["text"] == "no"
    assert call(*asked, *variable)["results"] == call(*asked)["results"]


@pytest.mark.parametrize("given", ["enable_thinking", "enable_thinking=False", "messages=1", "a-b=1"])
def test_what_is_no_variable_is_refused(given: str, tmp_path: Path, rows: Path) -> None:
    found = call("train", tmp_path / "none", rows, "-o", tmp_path / "out", "--template-var", given)
    assert given.partition("=")[0] in found


def test_calibration_reads_the_same_text_on_every_day(tmp_path: Path, rows: Path) -> None:
    checkpoint = open_checkpoint(str(base(tmp_path / "base", DATED)))
    dates = [read_sequences(checkpoint, rows)]
    import edgelora_runtime.chat_template as module

    class Tomorrow(module.datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(2031, 1, 1)

    before, module.datetime.datetime = module.datetime.datetime, Tomorrow  # type: ignore[misc]
    try:
        dates.append(read_sequences(checkpoint, rows))
    finally:
        module.datetime.datetime = before  # type: ignore[misc]
    assert dates[0] == dates[1]


def test_a_run_that_goes_on_after_midnight_keeps_its_day(tmp_path: Path, rows: Path, monkeypatch: Any) -> None:
    checkpoint, out = base(tmp_path / "base", DATED), tmp_path / "out"
    asked = ("train", checkpoint, rows, "-o", out, *OPTIONS, "--save-every", "5")
    days = iter(("2030-12-31", "2031-01-01"))
    monkeypatch.setattr(run, "datetime", SimpleNamespace(date=SimpleNamespace(today=lambda: Day(next(days)))))
    with monkeypatch.context() as stopped:

        def save_and_stop(*arguments: Any) -> None:
            save_state(*arguments)
            raise KeyboardInterrupt

        stopped.setattr(run, "save_state", save_and_stop)
        assert main([str(item) for item in asked]) == 130
    call(*asked, "--resume", "--json")
    receipt = json.loads((out / "receipt.json").read_text(encoding="utf-8"))
    assert receipt["training"]["date"] == "2030-12-31"


class Day:
    """A day as ``datetime.date.today()`` gives it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def isoformat(self) -> str:
        return self._text


def test_eval_gives_each_row_its_own_room_and_needs_no_end_token(tmp_path: Path, rows: Path) -> None:
    checkpoint, artifact = base(tmp_path / "base", TEMPLATE), tmp_path / "artifact"
    call("train", checkpoint, rows, "-o", tmp_path / "adapter", *OPTIONS, "--json")
    exported = ("export", checkpoint, "-o", artifact, "--quant", "none", "--adapter", f"a={tmp_path / 'adapter'}")
    call(*exported, "--json")
    context = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))["model"]["context_length"]
    alone = call("eval", artifact, rows, "--adapter", "a", "--json")
    assert alone["exact_match"] == 1.0
    # A prompt that leaves room for next to nothing, in a batch with those that need more.
    long = {"prompt": "left " * ((context - 60) // 5), "completion": "no"}
    beside = tmp_path / "beside.jsonl"
    beside.write_text(rows.read_text(encoding="utf-8") + "\n" + json.dumps(long), encoding="utf-8")
    found = call("eval", artifact, beside, "--adapter", "a", "--max-new-tokens", str(context - 40), "--json")
    assert (found["n"], found["skipped"]) == (4, 0)
    assert found["exact_match"] >= 0.75
    path = artifact / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["model"]["eos_token_ids"] = []
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert call("eval", artifact, rows, "--adapter", "a", "--max-new-tokens", "8", "--json")["n"] == 3
