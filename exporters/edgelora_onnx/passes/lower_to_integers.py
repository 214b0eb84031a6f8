"""Spells quantized linears and the embedding for backends whose only fast integer kernel knows no blocks (wasm).

graph, Grid -> graph of 8-bit products, Payload

The grid's values are rounded once more, to 8 bits with a step for each row.

Activations keep 16 bits. A token's input, divided by its largest magnitude, becomes two rows of bytes, the upper and
the lower half; both meet the weights in one ``MatMulIntegerToFloat``, which for one token spends most of its time on
unpacking weights and hardly notices the second row. For many tokens the second row is half of the time: calls of
``LONG`` tokens and more have the upper half alone (``calls``). So that 8 bits are enough for them, inputs are divided
by ``Grid.column_factors`` and the columns of weights multiplied by them; without, SmolLM2's answers change
(docs/log.md). Graphs that read a text once, whose answers no sampling adds up, have one row (``one_row``), and leave
the embedding to others. Their weights may have a sign (``is_signed``), which says the same in codes that some
processors multiply faster.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgelora.artifact.targets import MATMUL_INTEGER
from edgelora.checkpoint.names import is_embedding, is_layer_linear
from edgelora.grid.blocks import stack_rows, take_rows
from edgelora.grid.make import Grid
from edgelora.grid.row_codes import ROW_ZERO, RowMatrix, round_rows
from edgelora_onnx.decoder_graph import LINEAR, WeightSource
from edgelora_onnx.initializers import add_payload, keep_constant, remove_unused_initializers
from edgelora_onnx.lowering import name_of, replace_node, rows_key
from edgelora_onnx.payload import Payload

FACTORS = ".factors"  # ends the names of what inputs are multiplied with before they are rounded
LONG = 16  # tokens of a call whose products take longer with two rows than what the second one mends is worth

_CONTRIB = "com.microsoft"
_PIECE = 3072  # columns of one product: rows of weights that lie further apart are unpacked three times as slowly
_UPPER = 127  # the upper byte holds multiples of 1 / 127 of a token's largest magnitude
_LOWER = 127 * 256
_TINY = 1e-30  # keeps a token of zeros from being divided by zero


@dataclass(frozen=True)
class _Bytes:
    """An activation as two rows of bytes, or one, and what each is worth."""

    codes: ir.Value  # (..., 2, in_features) uint8, in long calls (..., 1, in_features); of one row (..., in_features)
    worth: ir.Value  # (..., 1, 2) float32, in long calls (..., 1, 1); of one row (..., 1)


@dataclass(frozen=True)
class _Length:
    """What the length of a call makes of the lower rows."""

    lower: ir.Value  # (1,) int64: how many there are, one or none
    steps: ir.Value  # (1, 1 + lower) float32


class LowerToIntegers(ir.passes.InPlacePass):
    """After the call, ``payloads`` holds the content of every initializer of this pass. Floats are left alone."""

    def __init__(
        self,
        sources: Mapping[str, WeightSource],
        grid: Grid,
        one_row: bool = False,
        is_signed: bool = False,
        calls: str | None = None,
    ) -> None:
        """``calls`` names the graph input (batch, tokens) that tells how long a call is; None has two rows in any."""
        super().__init__()
        self._one_row = one_row
        self._calls = calls
        self._length: _Length | None = None
        self._dtype = np.int8 if is_signed else np.uint8
        self._sources = sources
        self._grid = grid
        self._bytes: dict[ir.Value, _Bytes] = {}
        # Codes and steps of one linear are written one after the other: the last one rounded is enough to remember.
        self._rounded = functools.lru_cache(maxsize=1)(self._round)
        self.payloads: dict[str, Payload] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lower every linear whose weights are on the grid, and the embedding where it is."""
        graph = model.graph
        for node in list(graph):
            if node.op_type == LINEAR:
                sources = tuple(self._sources[name_of(weight)] for weight in node.inputs[1:])
                if sources[0].tensor in self._grid.specs:
                    self._linear(graph, node, sources)
            elif node.op_type == "Gather" and not self._one_row:
                source = self._sources.get(name_of(node.inputs[0]))
                if source is not None and is_embedding(source.tensor) and source.tensor in self._grid.specs:
                    self._embedding(graph, node, source)
        remove_unused_initializers(graph)
        model.opset_imports[_CONTRIB] = 1
        return ir.passes.PassResult(model, True)

    def _linear(self, graph: ir.Graph, node: ir.Node, sources: tuple[WeightSource, ...]) -> None:
        x = node.inputs[0]
        assert x is not None
        activation = self._activation(graph, node, x, sources[0].tensor)
        one, zero = self._scalar(graph, "one", np.float32(1)), self._scalar(graph, "zero", np.uint8(ROW_ZERO))
        parts = []
        for index, (codes, steps) in enumerate(self._pieces(graph, node, sources)):
            name = f"{node.outputs[0].name}.{index}"
            # One that two products shared could not lose its sign in onnxruntime, which would rename it twice.
            own_zero = zero if self._dtype is np.uint8 else self._scalar(graph, f"{name}.zero", np.int8(0))
            inputs = [activation.codes, codes, one, steps, zero, own_zero]
            product = self._insert(graph, node, MATMUL_INTEGER, inputs, f"{name}.halves")
            if self._one_row:
                parts.append((product, name))
                continue
            joined = self._insert(graph, node, "MatMul", [activation.worth, product], f"{name}.joined")
            parts.append((joined, name))
        axis = self._axis(graph, -2)
        if self._one_row:
            products = [product for product, _ in parts]
            whole = products[0]
            if len(products) > 1:
                whole = self._insert(graph, node, "Concat", products, f"{node.outputs[0].name}.columns", axis=-1)
            replace_node(graph, node, ir.node("Mul", [whole, activation.worth], num_outputs=1))
            return
        if len(parts) == 1:
            replace_node(graph, node, ir.node("Squeeze", [parts[0][0], axis], num_outputs=1))
            return
        squeezed = [self._insert(graph, node, "Squeeze", [joined, axis], name) for joined, name in parts]
        replace_node(graph, node, ir.node("Concat", squeezed, {"axis": -1}, num_outputs=1))

    def _activation(self, graph: ir.Graph, before: ir.Node, x: ir.Value, tensor: str) -> _Bytes:
        """Linears that read the same value share its bytes; their ``column_factors`` are alike too."""
        if x in self._bytes:
            return self._bytes[x]

        def add(op: str, inputs: list[ir.Value], what: str, **attributes: int) -> ir.Value:
            return self._insert(graph, before, op, inputs, f"{x.name}.{what}", **attributes)

        upper, lower = (self._scalar(graph, f"step.{n}", np.float32(1 / n)) for n in (_UPPER, _LOWER))
        zero, tiny = self._scalar(graph, "zero", np.uint8(ROW_ZERO)), self._scalar(graph, "tiny", np.float32(_TINY))
        even = x
        if (factors := self._grid.column_factors.get(tensor)) is not None:
            even = add("Mul", [x, self._constant(graph, f"{x.name}{FACTORS}", 1 / factors)], "even")
        row = even if self._one_row else add("Unsqueeze", [even, self._axis(graph, -2)], "row")  # (..., 1, in_features)
        largest = add("ReduceMax", [add("Abs", [row], "size"), self._axis(graph, -1)], "largest", keepdims=1)
        reach = add("Add", [largest, tiny], "reach")  # (..., 1, 1)
        unit = add("Div", [row, reach], "unit")  # from -1 to 1
        first = add("QuantizeLinear", [unit, upper, zero], "upper")
        if self._one_row:
            self._bytes[x] = _Bytes(first, add("Mul", [reach, upper], "worth"))
            return self._bytes[x]
        steps = self._constant(graph, "steps", np.array([[1 / _UPPER, 1 / _LOWER]], np.float32))
        if self._calls is not None and is_layer_linear(tensor):  # a head reads the last token alone
            length = self._length_of_call(graph, self._calls, steps)
            none = self._constant(graph, "none", np.array([0], np.int64))
            unit, steps = add("Slice", [unit, none, length.lower, self._axis(graph, -2)], "unit.lower"), length.steps
        rest = add("Sub", [unit, add("DequantizeLinear", [first, upper, zero], "rounded")], "rest")
        second = add("QuantizeLinear", [rest, lower, zero], "lower")
        codes = add("Concat", [first, second], "bytes", axis=-2)
        self._bytes[x] = _Bytes(codes, add("Mul", [reach, steps], "worth"))
        return self._bytes[x]

    def _length_of_call(self, graph: ir.Graph, calls: str, steps: ir.Value) -> _Length:
        """Computed once for all linears."""
        if self._length is None:
            ids = next(value for value in graph.inputs if value.name == calls)
            first = graph[0]

            def add(op: str, inputs: list[ir.Value], what: str, **attributes: int) -> ir.Value:
                return self._insert(graph, first, op, inputs, f"integers.call.{what}", **attributes)

            tokens = add("Shape", [ids], "tokens", start=1, end=2)
            short = add("Less", [tokens, self._constant(graph, "long", np.array([LONG], np.int64))], "short")
            lower = add("Cast", [short], "lower", to=ir.DataType.INT64.value)
            rows = add("Add", [lower, self._constant(graph, "upper", np.array([1], np.int64))], "rows")
            none = self._constant(graph, "none", np.array([0], np.int64))
            self._length = _Length(lower, add("Slice", [steps, none, rows, self._axis(graph, -1)], "steps"))
        return self._length

    def _pieces(
        self, graph: ir.Graph, before: ir.Node, sources: tuple[WeightSource, ...]
    ) -> Iterator[tuple[ir.Value, ir.Value]]:
        """Codes (in_features, columns) and steps (columns,) of at most 3072 columns each."""
        key, rows = rows_key(sources), sum(source.stop - source.start for source in sources)
        if is_embedding(sources[0].tensor):
            yield from self._pieces_of_table(graph, before, sources[0])
            return
        in_features = self._grid.in_features(sources[0].tensor)
        for start in range(0, rows, _PIECE):
            part = slice(start, min(start + _PIECE, rows))
            shape = (in_features, part.stop - part.start)
            codes = functools.partial(lambda part: self._codes(sources, part).T, part)
            steps = functools.partial(lambda part: self._rounded(sources).steps[part], part)
            name = f"{key}.{start}.codes"
            # As with the zero, where layers share their weights each has an initializer of its own, of the same bytes.
            is_taken = self._dtype is np.int8 and name in graph.initializers
            own = f"{before.outputs[0].name}.{start}.codes" if is_taken else name
            yield (
                add_payload(graph, self.payloads, own, shape, self._dtype, codes, key=name),
                add_payload(graph, self.payloads, f"{key}.{start}.steps", shape[1:], np.float32, steps),
            )

    def _pieces_of_table(
        self, graph: ir.Graph, before: ir.Node, source: WeightSource
    ) -> Iterator[tuple[ir.Value, ir.Value]]:
        """A tied head reads the embedding's rows, cut and transposed when the graph is loaded."""
        codes, steps = self._table(graph, source)
        rows = source.stop - source.start
        sizes = [min(_PIECE, rows - start) for start in range(0, rows, _PIECE)]
        if len(sizes) > 1:
            at = self._constant(graph, "head.sizes", np.array(sizes, np.int64))
            many_codes, many_steps = (
                self._split(graph, before, value, at, len(sizes), f"{source.module}.{what}")
                for value, what in ((codes, "codes"), (steps, "steps"))
            )
        else:
            many_codes, many_steps = [codes], [steps]
        for index, (some, own) in enumerate(zip(many_codes, many_steps, strict=True)):
            yield self._insert(graph, before, "Transpose", [some], f"{source.module}.{index}.columns"), own

    def _embedding(self, graph: ir.Graph, node: ir.Node, source: WeightSource) -> None:
        codes, steps = self._table(graph, source)
        ids = node.inputs[1]
        assert ids is not None
        zero = self._scalar(graph, "zero.float", np.float32(ROW_ZERO))

        def add(op: str, inputs: list[ir.Value], what: str, **attributes: int) -> ir.Value:
            return self._insert(graph, node, op, inputs, f"{source.module}.{what}", **attributes)

        found = add("Cast", [add("Gather", [codes, ids], "found")], "float", to=ir.DataType.FLOAT.value)
        centred = add("Sub", [found, zero], "centred")  # (..., hidden_size)
        step = add("Unsqueeze", [add("Gather", [steps, ids], "step"), self._axis(graph, -1)], "step.column")
        replace_node(graph, node, ir.node("Mul", [centred, step], num_outputs=1))

    def _table(self, graph: ir.Graph, source: WeightSource) -> tuple[ir.Value, ir.Value]:
        """Codes (vocab_size, hidden_size) and steps (vocab_size,) of the embedding."""
        shape = (source.stop - source.start, self._grid.in_features(source.tensor))
        rounded = functools.partial(self._rounded, (source,))
        return (
            add_payload(graph, self.payloads, f"{source.module}.codes", shape, np.uint8, lambda: rounded().codes),
            add_payload(graph, self.payloads, f"{source.module}.steps", shape[:1], np.float32, lambda: rounded().steps),
        )

    def _round(self, sources: tuple[WeightSource, ...]) -> RowMatrix:
        parts = [take_rows(self._grid.matrix(item.tensor), item.start, item.stop) for item in sources]
        return round_rows(stack_rows(parts), self._grid.column_factors.get(sources[0].tensor))

    def _insert(
        self,
        graph: ir.Graph,
        before: ir.Node,
        op: str,
        inputs: list[ir.Value],
        name: str,
        **attributes: int,
    ) -> ir.Value:
        domain = _CONTRIB if op == MATMUL_INTEGER else ""
        node = ir.node(op, inputs, attributes, domain=domain, num_outputs=1)
        node.outputs[0].name = name
        graph.insert_before(before, node)
        return node.outputs[0]

    def _split(
        self, graph: ir.Graph, before: ir.Node, value: ir.Value, sizes: ir.Value, count: int, name: str
    ) -> list[ir.Value]:
        node = ir.node("Split", [value, sizes], {"axis": 0}, num_outputs=count)
        for index, output in enumerate(node.outputs):
            output.name = f"{name}.{index}"
        graph.insert_before(before, node)
        return list(node.outputs)

    def _codes(self, sources: tuple[WeightSource, ...], part: slice) -> npt.NDArray[np.uint8] | npt.NDArray[np.int8]:
        codes = self._rounded(sources).codes[part]
        return codes if self._dtype is np.uint8 else (codes ^ np.uint8(ROW_ZERO)).view(np.int8)

    def _scalar(self, graph: ir.Graph, name: str, value: np.float32 | np.uint8 | np.int8) -> ir.Value:
        return self._constant(graph, name, np.array(value))

    def _axis(self, graph: ir.Graph, axis: int) -> ir.Value:
        return self._constant(graph, f"axis.{axis}", np.array([axis], np.int64))

    def _constant(
        self, graph: ir.Graph, name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
    ) -> ir.Value:
        return keep_constant(graph, f"integers.{name}", value)
