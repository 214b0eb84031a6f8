"""Rotary frequencies from transformers' own functions, so that every scaling is exact, and their tables as nodes.

config -> frequencies -> two tables as nodes

Which layer reads which table is ``mobius.py``'s matter.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgelora_onnx.initializers import add_constant
from edgelora_onnx.node_builder import NodeBuilder


def rotary_frequencies(config: Any, local: bool) -> tuple[npt.NDArray[np.float32], float]:
    """Radians per position (rotary_dim / 2,) of a transformers config, and the factor of their cosines and sines.

    ``local`` asks for those of gemma3's short-range layers. The scalings that ``edgelora.checkpoint.config`` lets
    through do not depend on a prompt's length.
    """
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    if local:
        config = copy.deepcopy(config)
        config.rope_theta, config.rope_scaling = config.rope_local_base_freq, None
    scaling = config.rope_scaling or {}
    rope_type = scaling.get("rope_type", scaling.get("type", "default"))
    frequencies, factor = ROPE_INIT_FUNCTIONS[rope_type](config, torch.device("cpu"))
    return frequencies.float().numpy(), float(factor)


def add_rotary_tables(
    graph: ir.Graph, prefix: str, frequencies: npt.NDArray[np.float32], factor: float, context_length: int
) -> tuple[ir.Value, ir.Value]:
    """Cosines and sines (context_length, rotary_dim / 2), as nodes over constants.

    onnxruntime computes such nodes once, when it loads the graph: stored tables would take more bytes than the layers
    of a small model. Angles are rounded as PyTorch rounds them: position times frequency, in float32.
    """
    nodes = NodeBuilder(graph, prefix)
    add, constant = nodes.add, nodes.constant
    positions = add("Range", [constant("first", 0), constant("context_length", context_length), constant("step", 1)])
    column = add("Unsqueeze", [add("Cast", [positions], to=ir.DataType.FLOAT.value), constant("axis", [1])])
    angles = add("Mul", [column, add_constant(graph, f"{prefix}.frequencies", frequencies[None])])
    cos, sin = add("Cos", [angles]), add("Sin", [angles])
    if factor != 1:
        strength = add_constant(graph, f"{prefix}.factor", np.array(factor, np.float32))
        cos, sin = add("Mul", [cos, strength]), add("Mul", [sin, strength])
    for table in (cos, sin):
        table.shape, table.type = ir.Shape((context_length, frequencies.size)), ir.TensorType(ir.DataType.FLOAT)
    nodes.insert_first()
    return cos, sin
