"""Packages of other programs in folders of their own, put in front of the checkout's for a child process.

requirements file, program -> what the program prints
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgelora_runtime.files import replace_folder

HERE = Path(__file__).parent
_ROOT = HERE.parents[1] / "build" / "others"


def run_with(name: str, asked: Any) -> Any:
    """What ``NAME_program.py`` answers, both as JSON; it sees the packages of ``NAME.txt``, installed once and kept."""
    path = os.pathsep.join([str(_packages(name)), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}_program.py")],
        input=json.dumps(asked), capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def _packages(name: str) -> Path:
    """The packages alone: what they need beside them is what the checkout is tested with."""
    requirements = HERE / f"{name}.txt"
    folder = _ROOT / f"{name}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    if not folder.is_dir():
        with replace_folder(folder) as fresh:
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-input"]
            subprocess.run([*pip, "--no-deps", "--target", str(fresh), "--requirement", str(requirements)], check=True)
    return folder
