"""Gives rows and tokens of hidden states one name each, wherever they are certainly the same.

graph -> graph whose hidden states have equal sizes

Tracing has a name of its own for each, which keeps onnxruntime from seeing that two are equal, and from fusing.
"""

from __future__ import annotations

import onnx_ir as ir

# What gives other rows or tokens than it takes, or takes some of them.
_RESHAPING = frozenset(
    (
        *("Concat", "Expand", "Gather", "GatherND", "GatherElements", "Reshape", "Shape", "Slice", "Squeeze", "Tile"),
        *("Transpose", "Unsqueeze"),
    )
)


def name_sizes(graph: ir.Graph, hidden_size: int) -> None:
    """Start from normalized hidden states, which have every row and token, and follow what keeps both."""
    kept: set[ir.Value] = set()  # whatever is known of their sizes
    for node in graph:
        inputs = node.inputs[:1] if node.op_type == "MultiHeadAttention" else node.inputs  # which ends as queries begin
        computed = [value for value in inputs if value is not None and not _is_given(graph, value)]
        keeps = bool(computed) and node.op_type not in _RESHAPING and all(value in kept for value in computed)
        for value in node.outputs:
            sizes = () if value.shape is None else tuple(value.shape)
            starts = node.op_type == "LayerNormalization" and len(sizes) == 3 and sizes[2] == hidden_size
            if not keeps and not starts:
                continue
            kept.add(value)
            if len(sizes) == 3 and not value.is_graph_output():
                value.shape = ir.Shape(["rows", "tokens", sizes[2]])


def _is_given(graph: ir.Graph, value: ir.Value) -> bool:
    """Factors, heads and constants, which have no tokens."""
    return value.is_graph_input() or value.name in graph.initializers
