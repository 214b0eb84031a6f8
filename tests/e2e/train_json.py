"""Run ``edgelora train --json`` in this process, as the tests of training do."""

import json
from typing import Any

import pytest

from edgelora.cli import main


def train_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """What the command prints; it has to end well."""
    capsys.readouterr()
    assert main(["train", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)
