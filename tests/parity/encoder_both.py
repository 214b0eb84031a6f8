"""Answers one padded batch with PyTorch and with the exported graph, whose heads and factors are the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch

from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.task_model import answer
from edgelora.values import Checkpoint, ExportedModel
from edgelora_onnx import OnnxExporter

Arrays = Mapping[str, npt.NDArray[Any]]
LENGTHS = (11, 6, 1)  # tokens of the rows of a batch


def answer_both(
    model: Any, checkpoint: Checkpoint, folder: Path, rank: int, quant: str = "none", labels: int | None = None
) -> tuple[ExportedModel, npt.NDArray[Any], npt.NDArray[Any]]:
    """The exported model, and the outputs of PyTorch and of the graph where a token is; one adapter for each row.

    ``labels`` is the size of a fresh head that both get, None leaves the model's own. ``model`` gets the grid's values.
    """
    grid, rng = plan_grid(checkpoint, parse_quant(quant)), np.random.default_rng(rank)
    exported = OnnxExporter().export(grid, folder, accuracy_level=0)
    encoder = exported.encoder
    assert encoder is not None
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in checkpoint.names():
            if name in parameters:
                parameters[name].copy_(torch.from_numpy(grid.value(name)))
    if labels is not None:
        _resize(model, [item.tensor for item in encoder.head if 0 in item.sizes], labels)
        parameters = dict(model.named_parameters())
    feeds = _inputs(encoder.inputs, exported.vocab_size, encoder.image_size, rng)
    given = {name: torch.from_numpy(value) for name, value in feeds.items()}
    for item in encoder.head:
        value = parameters[item.tensor].detach().numpy()
        feeds[item.input] = np.ascontiguousarray(np.atleast_2d(value.T)[None])
    n = 1 if encoder.one_adapter else len(LENGTHS)
    for slot in exported.slots:
        feeds[slot.a] = rng.normal(0, 0.3, (n, slot.in_features, rank)).astype(np.float32)
        feeds[slot.b] = rng.normal(0, 0.3, (n, rank, slot.out_features)).astype(np.float32)
    session = ort.InferenceSession(str(folder / exported.graph_file), providers=["CPUExecutionProvider"])
    found = session.run([encoder.output], feeds)[0]
    expected = np.stack(
        [_torch(model, checkpoint, exported, feeds, given, row % n)[row] for row in range(len(LENGTHS))]
    )
    if found.ndim == 3:  # what a graph says of padding is nobody's matter
        mask = feeds["attention_mask"].astype(bool)
        found, expected = found[mask], expected[mask]
    return exported, expected, found


def _torch(
    model: Any,
    checkpoint: Checkpoint,
    exported: ExportedModel,
    feeds: Arrays,
    given: Mapping[str, torch.Tensor],
    row: int,
) -> npt.NDArray[Any]:
    """Outputs of the whole batch with the adapter of one row added to every module."""
    modules = dict(model.named_modules())
    with ExitStack() as stack, torch.inference_mode():
        for slot in exported.slots:
            a, b = torch.from_numpy(feeds[slot.a][row]), torch.from_numpy(feeds[slot.b][row])
            for part in slot.parts:
                columns = b[:, part.offset : part.offset + part.out_features]

                def add(_: Any, inputs: Any, output: Any, a: Any = a, b: Any = columns) -> Any:
                    return output + inputs[0] @ a @ b

                stack.callback(modules[part.module].register_forward_hook(add).remove)
        if "pixel_values" in given:
            return np.asarray(model(**given).logits)
        return np.asarray(answer(model, checkpoint.task, given["input_ids"], given["attention_mask"]))


def _inputs(
    names: tuple[str, ...], vocab_size: int, image_size: tuple[int, ...], rng: np.random.Generator
) -> dict[str, npt.NDArray[Any]]:
    if names == ("pixel_values",):
        return {"pixel_values": rng.normal(size=(len(LENGTHS), *image_size)).astype(np.float32)}
    mask = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    ids = np.where(mask, rng.integers(4, vocab_size, mask.shape), 0)
    return {"input_ids": ids, "attention_mask": mask.astype(np.int64)}


def _resize(model: Any, tensors: list[str], labels: int) -> None:
    """Give the last linear of a head so many rows, all random."""
    torch.manual_seed(labels)
    for name in tensors:
        path, _, kind = name.rpartition(".")
        module = model.get_submodule(path)
        shape = (labels, *getattr(module, kind).shape[1:])
        setattr(module, kind, torch.nn.Parameter(torch.randn(shape) * 0.2))
    model.num_labels = labels
