"""One-node graphs of ``GroupQueryAttention``: that of onnxruntime and that of the project, on the same inputs.

Knows nothing about what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnx import TensorProto, helper

from tests.operator_library import operator_library

Array = npt.NDArray[Any]
OWN, STANDARD = "edgelora", "com.microsoft"
NAMES = (
    "q", "k", "v", "past_keys", "past_values", "last", "total", "cosines", "sines", "", "", "sinks", "key_steps",
    "value_steps",
)  # fmt: skip
_TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "int8": TensorProto.INT8}


@dataclass(frozen=True)
class Kind:
    """An attention as a graph spells it."""

    heads: int = 4
    kv_heads: int = 2
    size: int = 16
    half: int = 0  # angles of a position; 0 rotates nothing
    interleaved: bool = False
    packed: bool = True  # keys and values behind the queries
    window: int = -1
    cap: float = 0.0
    scale: float = 0.0
    sinks: bool = False
    in_bytes: bool = False

    @property
    def attributes(self) -> dict[str, Any]:
        found = {
            "num_heads": self.heads,
            "kv_num_heads": self.kv_heads,
            "local_window_size": self.window,
            "do_rotary": int(self.half > 0),
            "rotary_interleaved": int(self.interleaved),
            "softcap": self.cap,
            "scale": self.scale,
        }
        if self.in_bytes:
            found |= {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8}
        return found


@dataclass
class Rows:
    """Rows of tokens that go through a node in calls, over one cache."""

    kind: Kind
    rows: int
    capacity: int
    seed: int = 0
    keys: Array = field(init=False)  # (rows, kv_heads, capacity, size)
    values: Array = field(init=False)
    constants: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        kind, random = self.kind, np.random.default_rng(self.seed)
        cache_type = np.int8 if kind.in_bytes else np.float32
        self.keys = np.zeros((self.rows, kind.kv_heads, self.capacity, kind.size), cache_type)
        self.values = np.zeros_like(self.keys)
        angles = np.arange(self.capacity)[:, None] * 0.7 ** np.arange(1, kind.half + 1)
        self.constants = {"cosines": np.cos(angles), "sines": np.sin(angles)} if kind.half else {}
        if kind.sinks:
            self.constants["sinks"] = random.normal(size=kind.heads)
        if kind.in_bytes:
            for name in ("key_steps", "value_steps"):
                self.constants[name] = random.uniform(0.01, 0.04, (1, kind.kv_heads, 1, kind.size))
        self.constants = {name: np.ascontiguousarray(one, np.float32) for name, one in self.constants.items()}

    def draw(self, tokens: int, seed: int = 0) -> dict[str, Array]:
        """Projections of ``tokens`` new tokens of each row."""
        kind, random = self.kind, np.random.default_rng((self.seed, tokens, seed))
        widths = {"q": kind.heads, "k": kind.kv_heads, "v": kind.kv_heads}
        if kind.packed:
            widths = {"q": kind.heads + 2 * kind.kv_heads}
        shape = (self.rows, tokens)
        return {name: _normal(random, (*shape, count * kind.size)) for name, count in widths.items()}

    def run(
        self, session: ort.InferenceSession, projections: dict[str, Array], lengths: Sequence[int], total: int
    ) -> Array:
        """One call on the shared cache: (rows, tokens, heads * size). ``lengths`` are those after the call."""
        given = projections | self.constants
        given |= {"last": np.array(lengths, np.int32) - 1, "total": np.array(total, np.int32)}
        tokens = projections["q"].shape[1]
        y = np.full((self.rows, tokens, self.kind.heads * self.kind.size), np.nan, np.float32)
        binding = session.io_binding()
        cache = [ort.OrtValue.ortvalue_from_numpy(one) for one in (self.keys, self.values)]
        for name, value in given.items():
            binding.bind_cpu_input(name, value)
        for one, past, present in zip(cache, ("past_keys", "past_values"), ("keys", "values"), strict=True):
            binding.bind_ortvalue_input(past, one)
            binding.bind_ortvalue_output(present, one)
        result = ort.OrtValue.ortvalue_from_numpy(y)
        binding.bind_ortvalue_output("y", result)
        session.run_with_iobinding(binding)
        self.keys, self.values = (one.numpy().copy() for one in cache)
        found: Array = result.numpy().copy()
        return found


def open_node(domain: str, kind: Kind, threads: int = 1, **attributes: Any) -> ort.InferenceSession:
    names = [name if _is_there(name, kind) else "" for name in NAMES]
    while not names[-1]:
        names.pop()
    outputs = ["y", "keys", "values"]
    given = kind.attributes | attributes
    node = helper.make_node("GroupQueryAttention", names, outputs, domain=domain, **given)
    cache = "int8" if kind.in_bytes else "float32"
    shape = None if domain == OWN else ["rows", kind.kv_heads, "capacity", kind.size]
    known: dict[str, tuple[str, list[Any] | None]] = {name: ("float32", None) for name in names if name}
    known |= {
        "past_keys": (cache, shape),
        "past_values": (cache, shape),
        "last": ("int32", ["rows"]),
        "total": ("int32", []),
    }
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, _TYPES[known[name][0]], known[name][1]) for name in names if name],
        [helper.make_tensor_value_info(name, _TYPES["float32" if name == "y" else cache], None) for name in outputs],
    )
    imports = [helper.make_opsetid(name, version) for name, version in (("", 21), (domain, 1))]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    if domain == OWN:
        options.register_custom_ops_library(str(operator_library()))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _is_there(name: str, kind: Kind) -> bool:
    if name in ("k", "v"):
        return not kind.packed
    if name in ("cosines", "sines"):
        return kind.half > 0
    if name == "sinks":
        return kind.sinks
    if name in ("key_steps", "value_steps"):
        return kind.in_bytes
    return bool(name)


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return random.standard_normal(shape).astype(np.float32)
