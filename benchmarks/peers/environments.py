"""One virtual environment for each peer, made from its requirements file and kept.

Knows nothing about what is measured in them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from edgelora.errors import ConfigError

ROOT = Path("build/peers")
PEERS = ("genai", "llama-cpp", "peft")

_REQUIREMENTS = Path(__file__).parent / "requirements"
# Without GGML_NATIVE a build for another machine's instructions would be compared; the rest is not needed here.
_SETTINGS = {"llama-cpp": {"CMAKE_ARGS": "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"}}


def requirements_of(peer: str) -> Path:
    """The pinned packages of a peer."""
    return _REQUIREMENTS / f"{peer}.txt"


def is_ready(peer: str) -> bool:
    """Whether the environment was finished with the requirements as they are now."""
    stamp = _stamp(peer)
    return stamp.is_file() and stamp.read_text(encoding="ascii") == _digest(peer)


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment."""
    return ROOT / peer / "bin" / "python"


def make_environment(peer: str) -> None:
    """Create or complete ``build/peers/PEER``; llama-cpp-python is compiled, about 20 minutes on one free core.

    Raises ConfigError with the command to look at when pip fails.
    """
    if is_ready(peer):
        return
    if not python_of(peer).exists():
        subprocess.run([sys.executable, "-m", "venv", str(ROOT / peer)], check=True)
    pip = [str(python_of(peer)), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-input"]
    # A wheel that was compiled before, by hand or in another environment, is found in the folder `wheels`.
    command = [*pip, "--find-links", str(ROOT / "wheels"), "--requirement", str(requirements_of(peer))]
    (ROOT / "wheels").mkdir(parents=True, exist_ok=True)
    if subprocess.run(command, env={**os.environ, **_SETTINGS.get(peer, {})}, check=False).returncode:
        raise ConfigError(f"the environment of {peer} cannot be made; its message is above, from: {' '.join(command)}")
    _stamp(peer).write_text(_digest(peer), encoding="ascii")


def _stamp(peer: str) -> Path:
    return ROOT / peer / "installed"


def _digest(peer: str) -> str:
    return hashlib.sha256(requirements_of(peer).read_bytes()).hexdigest()
