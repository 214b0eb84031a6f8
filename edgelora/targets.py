"""What the compiler must know of each kind of device, one frozen row each.

The only place with device facts; no other file compares target names.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgelora.errors import ConfigError


@dataclass(frozen=True)
class Target:
    """A device profile."""

    name: str
    quant: str  # the --quant that suits it
    accuracy_level: int  # of MatMulNBits: 4 multiplies int8 activations, 0 keeps float32
    note: str


TARGETS = {
    target.name: target
    for target in (
        Target("cpu", "int4", 4, "desktop or server CPU, native onnxruntime"),
        Target("mobile", "int4", 4, "Android and iOS, native onnxruntime"),
        Target("embedded", "int4", 4, "aarch64 and x86 boards, native onnxruntime"),
        Target("web-webgpu", "int4", 4, "browser with WebGPU"),
        Target("web-wasm", "int8", 4, "browser without a GPU; MatMulNBits is slow there"),
    )
}


def find_target(name: str) -> Target:
    """The profile called ``name``; raises ConfigError with the known names."""
    if name not in TARGETS:
        raise ConfigError(f"unknown target {name!r}; choose one of {', '.join(TARGETS)}")
    return TARGETS[name]
