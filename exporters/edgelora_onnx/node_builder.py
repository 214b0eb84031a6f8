"""Builds a short run of small nodes over counters and constants.

operators, one by one -> nodes at the front or the end of a graph
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgelora_onnx.initializers import add_constant


class NodeBuilder:
    """Collects nodes whose outputs are named ``PREFIX.N``; their int64 constants become initializers of ``graph``."""

    def __init__(self, graph: ir.Graph, prefix: str) -> None:
        self._graph = graph
        self._prefix = prefix
        self._nodes: list[ir.Node] = []

    def add(self, op: str, inputs: list[ir.Value], **attributes: int | list[int]) -> ir.Value:
        """One node with one output."""
        node = ir.node(op, inputs, attributes, num_outputs=1)
        node.outputs[0].name = f"{self._prefix}.{len(self._nodes)}"
        self._nodes.append(node)
        return node.outputs[0]

    def constant(self, name: str, value: list[int] | int) -> ir.Value:
        """An int64 initializer."""
        return add_constant(self._graph, f"{self._prefix}.{name}", np.array(value, np.int64))

    def insert_first(self) -> None:
        """Put the nodes in front of all others: they read graph inputs and constants alone."""
        self._graph.insert_before(self._graph.node(0), self._nodes)

    def append(self) -> None:
        """Put the nodes behind all others."""
        self._graph.extend(self._nodes)
