"""What the compiler must know of each kind of device, one frozen row each.

name -> Target

No other file compares target names.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgelora.errors import ConfigError

MATMUL_NBITS = "MatMulNBits"  # multiplies with the codes of the grid
MATMUL_INTEGER = "MatMulIntegerToFloat"  # with the grid's values as 8 bits a row; float32 weights at level 0
# The same with 8 bits for each token's activations instead of 16; MatMulNBits at level 0. It is twice as fast as codes
# in blocks where many tokens meet a weight, as they always do in graphs that read a text once.
MATMUL_BYTES = "MatMulIntegerToFloat of bytes"
# The same with a sign in the weights, three times as fast on x86 with VNNI. Elsewhere on x86 such products overflow
# unless a session is told to take their sign away: the runtimes try a product and tell it.
MATMUL_SIGNED_BYTES = "MatMulIntegerToFloat of signed bytes"


@dataclass(frozen=True)
class Target:
    """A device profile."""

    name: str
    # 4 multiplies rounded activations (8 bits, with MATMUL_INTEGER 16 in short calls), 0 keeps float32
    accuracy_level: int
    linear_op: str  # the fastest operator with quantized weights there
    encoder_op: str  # the same for graphs that read a text once
    has_int8_cache: bool  # whether attention there can keep keys and values in 8 bits (slower in wasm, but smaller)
    has_operators: bool  # whether onnxruntime there loads operators of a library
    note: str

    def op(self, generates: bool) -> str:
        """The fastest operator with quantized weights, for models that write text and for those that read it once."""
        return self.linear_op if generates else self.encoder_op


TARGETS = {
    target.name: target
    for target in (
        Target("cpu", 4, MATMUL_NBITS, MATMUL_SIGNED_BYTES, True, True, "desktop or server CPU, native onnxruntime"),
        Target("mobile", 4, MATMUL_NBITS, MATMUL_BYTES, True, True, "Android and iOS, native onnxruntime"),
        Target("embedded", 4, MATMUL_NBITS, MATMUL_BYTES, True, True, "aarch64 and x86 boards, native onnxruntime"),
        Target("web-webgpu", 4, MATMUL_NBITS, MATMUL_NBITS, False, False, "browser with WebGPU"),
        Target(
            "web-wasm",
            4,
            MATMUL_INTEGER,
            MATMUL_INTEGER,
            True,
            False,
            "browser without a GPU; MatMulNBits takes 30 times as long there",
        ),
    )
}


def find_target(name: str) -> Target:
    """The profile called ``name``; raises ConfigError with the known names."""
    if name not in TARGETS:
        raise ConfigError(f"unknown target {name!r}; choose one of {', '.join(TARGETS)}")
    return TARGETS[name]
