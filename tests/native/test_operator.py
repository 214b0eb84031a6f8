"""The operator ``LowRank`` against numpy: every path of this processor, odd sizes, adapters by row."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from edgelora_runtime.adapter import Adapter, Factors
from edgelora_runtime.fused import BLOCKS, FACTORS, WEIGHTS, blend_fused, pack_fused, stack_fused
from edgelora_runtime.grid_of_factors import round_to_codes
from edgelora_runtime.manifest import Slot, SlotPart
from edgelora_runtime.packing import Packed
from tests.operator_library import operator_library, paths

Array = npt.NDArray[np.float32]
REFUSALS = (Fail, InvalidArgument, RuntimeException)
KINDS = ("float32", "float16", "int8")
SIZES = [(64, (48,)), (37, (19,)), (576, (576, 192, 192)), (5, (3, 1)), (130, (33, 16, 7))]


def make_slots(in_features: int, widths: Sequence[int]) -> list[Slot]:
    """The slot of the node, behind one that no adapter touches."""
    ends = np.cumsum(widths).tolist()
    parts = tuple(
        SlotPart(f"m.{i}", end - width, width) for i, (width, end) in enumerate(zip(widths, ends, strict=True))
    )
    other = Slot("other", "other.a", "other.b", 8, 8, (SlotPart("n", 0, 8),))
    return [other, Slot("m", "m.a", "m.b", in_features, ends[-1], parts)]


def make_factors(seed: int, shape: tuple[int, int], kind: str) -> Array:
    values: Array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    if kind == "float16":
        return values.astype(np.float16).astype(np.float32)
    if kind == "int8":
        codes, scales = round_to_codes(values)
        return codes * scales[:, None]
    return values


def make_adapter(seed: int, slot: Slot, ranks: Sequence[int], kind: str, shared: bool = False) -> Adapter:
    factors = {}
    for number, (part, rank) in enumerate(zip(slot.parts, ranks, strict=True)):
        if rank:
            a = make_factors(seed if shared else seed + 50 + number, (rank, slot.in_features), kind)
            b = make_factors(seed + 100 + number, (rank, part.out_features), kind)
            factors[part.module] = Factors(a, np.ascontiguousarray(b.T), 0.5 + number)
    return Adapter(factors)


def gelu(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([value / 2 * (1 + math.erf(value / 2**0.5)) for value in values.ravel()]).reshape(values.shape)


def delta(x: Array, slot: Slot, adapter: Adapter) -> npt.NDArray[np.float64]:
    """What an adapter adds for the tokens of a row."""
    added = np.zeros((len(x), slot.out_features))
    for part in slot.parts:
        if part.module in adapter.factors:
            item = adapter.factors[part.module]
            columns = slice(part.offset, part.offset + part.out_features)
            added[:, columns] = item.scaling * (x.astype(np.float64) @ item.a.T @ item.b.T)
    return added


def open_node(
    slots: list[Slot],
    path: str = "",
    threads: int = 1,
    more: Sequence[str] = (),
    names: Sequence[str] = ("z",),
    kind: str = "LowRank",
    **attributes: Any,
) -> ort.InferenceSession:
    """The operator alone, ``more`` of its inputs behind those of an adapter: scales, bias and residual, or none.

    ``names`` are those of its outputs.
    """
    slot = slots[-1]
    columns = [*(part.offset for part in slot.parts), slot.out_features]
    given = {"in_features": slot.in_features, "columns": columns, "slot": len(slots) - 1, "path": path} | attributes
    node = helper.make_node(kind, ["x", "y", FACTORS, BLOCKS, WEIGHTS, *more], names, domain="edgelora", **given)
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "tokens", None]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "tokens", None]),
        helper.make_tensor_value_info(FACTORS, TensorProto.UINT8, ["bytes"]),
        helper.make_tensor_value_info(BLOCKS, TensorProto.INT64, ["n", "pieces", None]),
        helper.make_tensor_value_info(WEIGHTS, TensorProto.FLOAT, ["n", "pieces"]),
    ]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in more if name]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", "tokens", None]) for name in names]
    graph = helper.make_graph([node], "one", inputs, outputs)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("edgelora", 1)]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(operator_library()))
    content = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, x: Array, y: Array, packed: Packed) -> Array:
    found: Array = session.run(None, {"x": x, "y": y, **packed})[0]
    return found


def inputs_of(slot: Slot, rows: int, tokens: int) -> tuple[Array, Array]:
    random = np.random.default_rng(rows * 1000 + tokens)
    x = random.standard_normal((rows, tokens, slot.in_features)).astype(np.float32)
    return x, random.standard_normal((rows, tokens, slot.out_features)).astype(np.float32)


def assert_close(found: Array, expected: npt.NDArray[np.float64]) -> None:
    assert found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    assert float(np.abs(found - expected).max()) < 4e-6 * scale


@pytest.mark.parametrize("path", paths())
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("in_features", "widths"), SIZES)
def test_one_row_equals_numpy(path: str, kind: str, in_features: int, widths: tuple[int, ...]) -> None:
    slots = make_slots(in_features, widths)
    session = open_node(slots, path)
    for rank in (1, 3, 8, 16, 64):
        for tokens in (1, 2, 3, 5, 33):
            adapter = make_adapter(rank, slots[1], [rank] * len(widths), kind)
            x, y = inputs_of(slots[1], 1, tokens)
            found = run(session, x, y, pack_fused(adapter, slots))
            assert_close(found, y + delta(x[0], slots[1], adapter))


@pytest.mark.parametrize("path", paths())
def test_parts_have_ranks_of_their_own_and_may_share_a(path: str) -> None:
    slots = make_slots(70, (33, 16, 20))
    session = open_node(slots, path)
    x, y = inputs_of(slots[1], 2, 3)
    for ranks, shared in (((4, 0, 9), False), ((0, 2, 0), False), ((5, 5, 5), True), ((0, 3, 3), True)):
        adapter = make_adapter(3, slots[1], ranks, "float16", shared)
        found = run(session, x, y, pack_fused(adapter, slots))
        assert_close(found, y + np.stack([delta(row, slots[1], adapter) for row in x]))


@pytest.mark.parametrize("path", paths())
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_each_row_has_adapters_of_its_own(path: str, threads: int, tokens: int) -> None:
    slots = make_slots(100, (48, 17))
    session = open_node(slots, path, threads)
    made = [make_adapter(rank, slots[1], [rank] * 2, KINDS[rank % 3]) for rank in (1, 3, 8, 16)]
    packed = [pack_fused(adapter, slots) for adapter in made]
    none = blend_fused([], slots)
    blend = blend_fused([(packed[1], 0.7), (packed[3], -2.0)], slots)
    rows = [packed[0], none, packed[2], packed[2], blend, packed[3], packed[0], none]
    weights = [{0: 1.0}, {}, {2: 1.0}, {2: 1.0}, {1: 0.7, 3: -2.0}, {3: 1.0}, {0: 1.0}, {}]
    for count in (8, 5, 1):
        x, y = inputs_of(slots[1], count, tokens)
        found = run(session, x, y, stack_fused(rows[:count]))
        added = [
            sum((weight * delta(row, slots[1], made[index]) for index, weight in parts.items()), np.zeros(y.shape[1:]))
            for row, parts in zip(x, weights, strict=False)
        ]
        assert_close(found, y + np.stack(added))
        assert np.array_equal(found[1], y[1]) if count > 1 else True


@pytest.mark.parametrize("path", paths())
@pytest.mark.parametrize("kind", ["LowRank", "LowRankGelu"])
@pytest.mark.parametrize(
    "more", [("scales",), ("", "bias"), ("scales", "bias"), ("", "", "residual"), ("scales", "bias", "residual"), ()]
)
def test_what_is_added_to_is_scaled_first_and_the_sum_is_curved(path: str, more: tuple[str, ...], kind: str) -> None:
    slots = make_slots(70, (33, 16))
    adapter = make_adapter(1, slots[1], [4, 2], "float32")
    one, none = pack_fused(adapter, slots), blend_fused([], slots)
    random = np.random.default_rng(3)
    for threads, tokens in ((1, 1), (3, 7), (1, 70)):
        session = open_node(slots, path, threads, more, kind=kind)
        for acts in ([1], [0], [0, 1, 1, 0], [1, 0, 0]):  # rows that an adapter changes, and others
            x, y = inputs_of(slots[1], len(acts), tokens)
            scales = random.random((len(acts), tokens, 1), np.float32)
            bias = random.standard_normal(y.shape[-1]).astype(np.float32)
            residual = random.standard_normal(y.shape).astype(np.float32)
            every = {"scales": scales, "bias": bias, "residual": residual}
            given = {name: every[name] for name in more if name}
            packed = stack_fused([one if acting else none for acting in acts])
            found: Array = session.run(None, {"x": x, "y": y, **packed, **given})[0]
            added = [delta(row, slots[1], adapter) * acting for row, acting in zip(x, acts, strict=True)]
            expected = y.astype(np.float64) * given.get("scales", 1) + given.get("bias", 0) + np.stack(added)
            expected += given.get("residual", 0)
            assert_close(found, gelu(expected) if kind == "LowRankGelu" else expected)


@pytest.mark.parametrize("path", paths())
def test_gelu_is_that_of_the_error_function_everywhere(path: str) -> None:
    y = np.concatenate([np.linspace(-12, 12, 4001), [0.0, -0.0, 1e-30, -1e30, 1e30, np.inf, np.nan]])
    slots = make_slots(8, (len(y),))
    x, given = np.zeros((1, 1, 8), np.float32), y.astype(np.float32)[None, None]
    found = run(open_node(slots, path, kind="LowRankGelu"), x, given, blend_fused([], slots))[0, 0]
    np.testing.assert_allclose(found, gelu(given[0, 0].astype(np.float64)), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("path", paths())
def test_parts_may_have_outputs_of_their_own(path: str) -> None:
    for widths, names in (((32, 16, 48), "qkv"), ((33, 7), "qk")):
        slots = make_slots(64, widths)
        ranks = ([8] * len(widths), [3, 0, 2][: len(widths)])
        rows = [pack_fused(make_adapter(1, slots[1], item, "float16"), slots) for item in ranks]
        packed = stack_fused([rows[0], blend_fused([], slots), rows[1]])
        for more, tokens in itertools.product(((), ("scales",), ("scales", "bias")), (1, 3, 40)):
            x, y = inputs_of(slots[1], 3, tokens)
            given = {"x": x, "y": y, **packed}
            given |= {name: y[..., :1] if name == "scales" else y[0, 0] for name in more}
            whole = open_node(slots, path, more=more).run(None, given)[0]
            parts = open_node(slots, path, more=more, names=list(names)).run(None, given)
            assert [part.shape[-1] for part in parts] == list(widths)
            np.testing.assert_allclose(np.concatenate(parts, -1), whole, rtol=1e-6, atol=1e-6)


def test_other_outputs_than_one_for_each_part_are_refused() -> None:
    with pytest.raises(REFUSALS, match="other outputs than one"):
        open_node(make_slots(20, (17, 4, 5)), names=("a", "b"))


def test_scales_bias_and_residual_of_other_sizes_are_refused() -> None:
    slots = make_slots(20, (17,))
    x, y = inputs_of(slots[1], 2, 3)
    given = {"x": x, "y": y, **blend_fused([], slots)}
    of_others: tuple[tuple[str, list[str], tuple[int, ...]], ...] = (
        ("scales", ["scales"], (5,)),
        ("bias", ["", "bias"], (16,)),
        ("residual", ["", "", "residual"], (1, 3, 17)),
        ("residual", ["", "", "residual"], (17,)),
    )
    for name, more, shape in of_others:
        with pytest.raises(REFUSALS, match=f"expected {name}"):
            open_node(slots, more=more).run(None, {**given, name: np.ones(shape, np.float32)})


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_many_threads_answer_as_one(threads: int) -> None:
    slots = make_slots(1500, (1536, 1500))
    session = open_node(slots, threads=threads)
    for kind in KINDS:
        adapter = make_adapter(1, slots[1], [16, 13], kind)
        packed = pack_fused(adapter, slots)
        for tokens in (1, 100):
            x, y = inputs_of(slots[1], 1, tokens)
            assert_close(run(session, x, y, packed), y + delta(x[0], slots[1], adapter))


def test_no_adapter_changes_nothing_at_all() -> None:
    slots = make_slots(20, (17,))
    session = open_node(slots)
    x, y = inputs_of(slots[1], 3, 2)
    untouched = pack_fused(
        Adapter({"n": Factors(np.ones((2, 8), np.float32), np.ones((8, 2), np.float32), 1.0)}), slots
    )
    for packed in (blend_fused([], slots), untouched, stack_fused([untouched] * 3)):
        assert np.array_equal(run(session, x, y, packed), y)
    assert run(session, x[:, :0], y[:, :0], untouched).shape == (3, 0, 17)


def test_factors_are_packed_in_the_narrowest_type_that_holds_them() -> None:
    slots = make_slots(64, (64, 32))
    sizes = []
    for kind in KINDS:
        packed = pack_fused(make_adapter(1, slots[1], [16, 16], kind), slots)
        sizes.append(packed[FACTORS].nbytes)
        assert packed[FACTORS].ctypes.data % 64 == 0
    numbers = 16 * (64 + 64 + 64 + 32)
    assert [size - numbers * wide for size, wide in zip(sizes, (4, 2, 1), strict=True)] == [sizes[2] - numbers] * 3
    assert sizes[2] < numbers + 512


def damaged(packed: Packed, index: int, value: int) -> dict[str, npt.NDArray[Any]]:
    factors = packed[FACTORS].copy()
    factors.view(np.int32)[index] = value
    return {**packed, FACTORS: factors}


@pytest.mark.parametrize("path", paths())
def test_the_smallest_numbers_of_float16_count(path: str) -> None:
    slots = make_slots(64, (48,))
    a = np.float16(2.0**-24) * np.arange(-64, 64, dtype=np.float16).reshape(2, 64)
    b = np.ldexp(np.float16(1.5), np.arange(-20, 14, dtype=np.int32).repeat(3)[:96]).astype(np.float16).reshape(48, 2)
    adapter = Adapter({"m.0": Factors(a.astype(np.float32), b.astype(np.float32), 2.0**20)})
    packed = pack_fused(adapter, slots)
    assert packed[FACTORS].view(np.int32)[0] == 1, "float16"
    x, y = inputs_of(slots[1], 1, 1)
    expected = delta(x[0], slots[1], adapter)
    assert np.abs(run(open_node(slots, path), x, 0 * y, packed) - expected).max() < 1e-5 * np.abs(expected).max()


def test_memory_that_is_no_packed_adapter_is_refused() -> None:
    slots = make_slots(40, (24, 8))
    session = open_node(slots)
    packed = pack_fused(make_adapter(1, slots[1], [4, 2], "float32"), slots)
    x, y = inputs_of(slots[1], 2, 1)
    moved = packed[BLOCKS].copy()
    moved[0, 0, 1] = packed[FACTORS].nbytes - 64
    hostile: list[tuple[str, Packed]] = [
        ("kind", damaged(packed, 0, 3)),
        ("rank", damaged(packed, 1, -1)),
        ("too early", damaged(packed, 1, 1 << 23)),
        ("number of parts", damaged(packed, 2, 3)),
        ("ranks of a part", damaged(packed, 4, 3)),
        ("ranks of a part", damaged(packed, 5, 1 << 30)),
        ("too early", {**packed, FACTORS: packed[FACTORS][:-64]}),
        ("a packed adapter has", {**packed, BLOCKS: moved}),
        ("offset", {**packed, BLOCKS: moved + 10**6}),
        ("offset", {**packed, BLOCKS: packed[BLOCKS] + 2}),
        ("other rows", stack_fused([packed] * 3)),
        ("fewer slots", {**packed, BLOCKS: packed[BLOCKS][:, :, :1]}),
        ("different numbers", {**packed, WEIGHTS: np.ones((1, 2), np.float32)}),
    ]
    for message, inputs in hostile:
        with pytest.raises(REFUSALS, match=message):
            run(session, x, y, inputs)
    with pytest.raises(REFUSALS, match="in_features"):
        run(session, x[:, :, :39], y, packed)


def test_a_node_that_says_nothing_sensible_is_refused() -> None:
    slots = make_slots(40, (24, 8))
    for message, attributes in (
        ("columns", {"columns": [0, 8, 8]}),
        ("columns", {"columns": [1, 8]}),
        ("slot", {"slot": -1}),
        ("in_features", {"in_features": 0}),
        ("expected one of: plain", {"path": "quantum"}),
    ):
        with pytest.raises(REFUSALS, match=message):
            open_node(slots, **attributes)
