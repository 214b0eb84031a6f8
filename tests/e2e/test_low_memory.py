"""A whole run with packed weights writes the adapter that the run with float weights writes."""

import contextlib
import functools
import json

import numpy as np
import pytest

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.progress import Silent
from edgelora.training.recipe import Recipe
from edgelora.training.run import RunPlan, train_adapter
from edgelora_runtime.receipt import read_receipt
from edgelora_runtime.safetensors import read_safetensors
from tests.tiny import write_checkpoint

OPTIONS = Recipe(rank=4, batch_size=4, max_steps=10, warmup=2, learning_rate=0.02)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("low-memory")
    write_checkpoint(folder / "model")
    rows = [
        json.dumps({"prompt": f"say {word}", "completion": word.upper()}) for word in ("one", "two", "drei", "fier")
    ]
    (folder / "rows.jsonl").write_text("\n".join(rows * 4) + "\n")
    return folder


class Telling(Silent):
    """Tells a function of every step."""

    def __init__(self, tell):
        self._tell = tell

    @contextlib.contextmanager
    def training(self, name):
        yield self._tell


def train(work, name, low_memory, quant="int4", **plan):
    losses = []
    result = train_adapter(
        open_checkpoint(str(work / "model")),
        functools.partial(plan_grid, plan=parse_quant(quant)),
        RunPlan(work / "rows.jsonl", work / name, low_memory=low_memory, **plan),
        OPTIONS,
        progress=Telling(lambda step: losses.append(step.loss)),
    )
    return losses, result


@pytest.mark.parametrize("quant", ["int4", "int2"])
def test_losses_folder_and_receipt_are_the_same(work, quant):
    plain, expected = train(work, f"plain-{quant}", False, quant)
    packed, found = train(work, f"packed-{quant}", True, quant)
    assert plain[-1] < plain[0] - 0.1
    assert packed == pytest.approx(plain, abs=1e-4)
    assert found.trainable_share == expected.trainable_share
    folders = [work / f"plain-{quant}", work / f"packed-{quant}"]
    assert {path.name for path in folders[0].iterdir()} == {path.name for path in folders[1].iterdir()}
    configs = [json.loads((folder / "adapter_config.json").read_text()) for folder in folders]
    assert configs[0] == configs[1]
    one, other = (read_safetensors(folder / "adapter_model.safetensors") for folder in folders)
    assert list(one) == list(other)
    assert all(np.allclose(one[key], other[key], atol=1e-4) for key in one)
    first, second = (read_receipt(folder) for folder in folders)
    assert (first.fingerprint, first.grid, first.quantization) == (second.fingerprint, second.grid, second.quantization)
    assert first.training["data_sha256"] == second.training["data_sha256"]


def test_a_run_may_go_on_in_the_other_mode(work):
    """Memory is no part of what decides an adapter, so a checkpoint of one mode is a checkpoint of the other."""

    class StoppedError(Exception):
        pass

    def stop(step):
        if step.step == 6:
            raise StoppedError

    whole, _ = train(work, "whole", False)
    plan = RunPlan(work / "rows.jsonl", work / "halves", save_every=5)
    make_grid = functools.partial(plan_grid, plan=parse_quant("int4"))
    with pytest.raises(StoppedError):
        train_adapter(open_checkpoint(str(work / "model")), make_grid, plan, OPTIONS, progress=Telling(stop))
    rest, _ = train(work, "halves", True, resume=True)
    assert rest == pytest.approx(whole[5:], abs=1e-4)
