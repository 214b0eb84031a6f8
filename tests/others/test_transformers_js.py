"""The same exports, opened by transformers.js in Node: the same greedy tokens."""

import json
import subprocess

import pytest

from tests.others.conftest import COUNT, PROMPT, Shared, answer
from tests.others.environment import HERE
from tests.others.test_optimum import GRAPH


@pytest.mark.parametrize("name", ["slots", "merged", "float_base"])
def test_transformers_js_gives_the_tokens_of_our_runtime(shared: Shared, name: str) -> None:
    folder = getattr(shared, name)
    asked = {"folder": str(folder), "graph": GRAPH.removesuffix(".onnx"), "prompt": PROMPT, "count": COUNT}
    done = subprocess.run(
        ["node", str(HERE / "transformers_program.mjs")], input=json.dumps(asked), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == answer(folder)
