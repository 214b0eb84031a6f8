"""Says where the library of operators lies that onnxruntime loads.

installed package -> path of libedgelora_ops

``onnxruntime.SessionOptions.register_custom_ops_library(str(library_path()))`` makes them known to a session;
``edgelora_runtime.load`` does that by itself where this package is installed.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["library_path"]

_NAMES = ("libedgelora_ops.so", "libedgelora_ops.dylib", "edgelora_ops.dll")


def library_path() -> Path:
    """The shared library; raises FileNotFoundError where the package was installed without it."""
    folder = Path(__file__).resolve().parent
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} holds none of {', '.join(_NAMES)}; install edgelora-ops again")
