"""What every lowering of a linear does: name the rows it holds, and take the node's place.

Linear node -> the node that takes its place
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgelora_onnx.decoder_graph import WeightSource


def rows_key(sources: Sequence[WeightSource]) -> str:
    """A name for these rows: the tensor's own where it is whole, ranges where it is cut."""
    tensors = {source.tensor for source in sources}
    if len(tensors) == 1:
        return sources[0].module
    return "+".join(dict.fromkeys(source.module for source in sources))


def name_of(value: ir.Value | None) -> str:
    """The name of an initializer that a node reads."""
    assert value is not None and value.name is not None
    return value.name


def replace_node(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    """Put ``new`` where ``old`` is; its output takes over name, shape and readers."""
    name = old.outputs[0].name
    new.outputs[0].shape, new.outputs[0].type = old.outputs[0].shape, old.outputs[0].type
    old.outputs[0].replace_all_uses_with(new.outputs[0], replace_graph_outputs=True)
    graph.insert_before(old, new)
    graph.remove(old, safe=True)
    new.outputs[0].name = name
