"""``edgelora train --activated``: trained, measured, exported, verified and run; refused where it would do nothing."""

import json

import numpy as np
import pytest
import torch
from peft import PeftModel

from edgelora.artifact.verify import verify_artifact
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.choose_grid import GridChoice, choose_grid
from edgelora_runtime import load
from edgelora_runtime.invocation import find_last
from edgelora_runtime.receipt import read_receipt
from edgelora_runtime.safetensors import read_safetensors
from tests.e2e.train_json import train_json
from tests.tiny import write_checkpoint

QUICK = (
    "--max-steps", "24", "--batch-size", "4", "--rank", "4", "--warmup", "2", "--learning-rate", "0.02",
    "--quant-method", "rtn",
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("activated")
    write_checkpoint(folder / "model")
    rows = [
        json.dumps({"prompt": f"please say {word} now", "completion": word.upper()})
        for word in ("one", "two", "drei", "fier")
    ]
    (folder / "rows.jsonl").write_text("\n".join(rows * 4) + "\n")
    return folder


def refused(capsys, *arguments):
    assert main([str(item) for item in arguments]) == 2
    return capsys.readouterr().err


def test_it_learns_ships_and_acts_from_its_invocation_on(work, capsys):
    adapter = work / "adapter"
    result = train_json(capsys, work / "model", work / "rows.jsonl", "-o", adapter, *QUICK, "--activated")
    assert result["loss"] < result["first_loss"] - 0.5
    config = json.loads((adapter / "adapter_config.json").read_text())
    call = config["alora_invocation_tokens"]
    assert len(call) > 1
    receipt = read_receipt(adapter)
    assert receipt.training["activated"] is True
    assert all(find_last(probe.input_ids, call) is not None and probe.kl > 0 for probe in receipt.probes)
    artifact = work / "artifact"
    export = ("export", work / "model", "-o", artifact, "--quant-method", "rtn", "--accuracy-level", 0)
    export = (*export, "--adapter", f"shout={adapter}")  # replays a probe of the receipt
    assert main([str(item) for item in export]) == 0
    report = verify_artifact(artifact)
    assert report.passed, [check for check in report.checks if not check.passed]
    grid = choose_grid(open_checkpoint(str(work / "model")), GridChoice("int4", method="rtn")).grid
    with load(artifact, threads=1) as model, torch.no_grad():
        assert model.invocation("shout") == tuple(call)
        wrapped = PeftModel.from_pretrained(load_torch(grid.checkpoint, grid), str(adapter)).eval()
        ids = model.tokenizer.encode_chat([{"role": "user", "content": "please say two now"}])
        expected = wrapped(torch.tensor([ids])).logits[0].numpy()
        np.testing.assert_allclose(model.logits(ids, adapter="shout"), expected, atol=1e-3)
        assert model.generate("please say two now", adapter="shout", max_new_tokens=8).text == "TWO"
    capsys.readouterr()
    assert main(["eval", str(artifact), str(work / "rows.jsonl"), "--adapter", "shout", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["exact_match"] >= 0.5
    assert main(["inspect", str(adapter)]) == 0
    assert "acts from" in capsys.readouterr().out


def test_low_memory_and_a_resumed_run_give_the_same_adapter(work, capsys):
    found = {}
    for name, extra in (("float", ()), ("packed", ("--low-memory",))):
        train_json(
            capsys, work / "model", work / "rows.jsonl", "-o", work / name, *QUICK, "--activated", *extra,
            "--invocation", " now",
        )  # fmt: skip
        found[name] = read_safetensors(work / name / "adapter_model.safetensors")
    assert found["float"].keys() == found["packed"].keys()
    for key, value in found["float"].items():
        np.testing.assert_allclose(found["packed"][key], value, atol=2e-3)
    config = json.loads((work / "float" / "adapter_config.json").read_text())
    assert len(config["alora_invocation_tokens"]) == 4
    again = ("--config", str(work / "float" / "options.json"))
    train_json(capsys, work / "model", work / "rows.jsonl", "-o", work / "again", *again)
    repeated = read_safetensors(work / "again" / "adapter_model.safetensors")
    assert all(np.array_equal(repeated[key], value) for key, value in found["float"].items())


def test_where_it_would_do_nothing_it_is_refused(work, capsys):
    train = ("train", work / "model", work / "rows.jsonl", "-o", work / "none", *QUICK)
    assert "has no row to train on" in refused(capsys, *train, "--activated", "--invocation", "never said")
    assert "give --activated as well" in refused(capsys, *train, "--invocation", " now")
    assert "give --invocation TEXT" in refused(capsys, *train, "--activated", "--raw")
    recover = ("recover", work / "model", work / "rows.jsonl", "-o", work / "none", "--activated")
    assert "leave it out" in refused(capsys, *recover)
    assert "acts on every token" in refused(capsys, *train, "--from", work / "adapter")
    export = ("export", work / "model", "-o", work / "merged")
    assert "cannot be merged" in refused(capsys, *export, "--merge", work / "adapter")
    genai = refused(capsys, *export, "--genai", "--adapter", f"a={work / 'adapter'}")
    assert "export without --genai" in genai
    assert not (work / "merged").exists()
    bad = refused(capsys, "run", work / "artifact", "--adapter", "shout", "--raw", "--prompt", "hello")
    assert "which the prompt does not have" in bad
