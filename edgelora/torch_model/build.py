"""Builds the transformers model of a checkpoint's task with exactly the values of a grid in it.

Checkpoint, Grid -> torch model
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.integrations.accelerate import init_empty_weights
from transformers.modeling_utils import no_init_weights
from transformers.pytorch_utils import Conv1D

from edgelora.checkpoint.config import read_config
from edgelora.checkpoint.names import is_head, is_transposed
from edgelora.errors import CheckpointError, ConfigError
from edgelora.grid.make import Grid
from edgelora.torch_model.packed import PackedMatrix, can_pack, pack_module
from edgelora.torch_model.task_model import attention_of, build_model
from edgelora.values import Checkpoint
from edgelora_runtime.parse_json import join_some

# Buffers that old checkpoints store and transformers computes: causal masks of gpt2, rotary frequencies.
_COMPUTED = re.compile(r"(\.attn\.(masked_)?bias|rotary_emb\.inv_freq)$")


def load_torch(checkpoint: Checkpoint, grid: Grid | None, low_memory: bool = False) -> Any:
    """The model in float32 and eval mode; its tensors are ``grid.value(name)``, or the checkpoint's own without a grid.

    What the checkpoint lacks of a head is drawn from a seed, always the same.
    With ``low_memory`` weights that have codes stay packed, and the float model never exists as a whole.

    Raises CheckpointError naming every missing, unexpected or misshapen tensor, and ConfigError where ``low_memory`` is
    asked for a grid that has no codes.
    """
    if low_memory and (grid is None or not grid.matrices):
        raise ConfigError("--low-memory keeps the base as packed codes, but nothing is quantized; give --quant int4")
    model = _build(checkpoint, empty=low_memory)
    wanted = _wanted(model)
    names = tensors_of(checkpoint, model)
    _check_fit(checkpoint, names, wanted)
    if low_memory and grid is not None:
        _fill_empty(model, wanted, names, grid)
        _draw_heads(model, checkpoint)
        return model
    _draw_heads(model, checkpoint)
    with torch.no_grad():
        for name in names:
            if name in wanted:
                value = checkpoint.read(name) if grid is None else grid.value(name)
                wanted[name].copy_(torch.from_numpy(value))
    return model


def check_tensors(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError naming every missing, unexpected or misshapen tensor; no weight is read or made."""
    model = _build(checkpoint, empty=True)
    _check_fit(checkpoint, tensors_of(checkpoint, model), _wanted(model))


def tensors_of(checkpoint: Checkpoint, model: Any) -> tuple[str, ...]:
    """The tensors of ``checkpoint`` that ``model`` is to have, by the name that both know them by."""
    wanted, saved = _wanted(model), set(model.state_dict())
    # Computed ones may be stored, and a tied head: the embedding is what both use.
    return tuple(
        name
        for name in (*checkpoint.names(), *checkpoint.head_names())
        if name in wanted or (name not in saved and not _COMPUTED.search(name))
    )


def _wanted(model: Any) -> dict[str, torch.Tensor]:
    wanted: dict[str, torch.Tensor] = dict(model.named_parameters())  # a tied head is the same tensor, named once
    saved = model.state_dict()
    wanted.update({name: buffer for name, buffer in model.named_buffers() if name in saved})
    return wanted


def _fill_empty(model: Any, wanted: Mapping[str, torch.Tensor], names: Sequence[str], grid: Grid) -> None:
    """Give a model without weights its codes, and floats where there are none; no matrix with codes is made float."""
    users: dict[int, list[tuple[torch.nn.Module, str]]] = {}  # an empty parameter -> who holds it: a tied one has two
    for module in model.modules():
        for key, parameter in module._parameters.items():
            users.setdefault(id(parameter), []).append((module, key))
    for name in names:
        holders = users.get(id(wanted[name]), [])
        if holders and name in grid.matrices and all(_fits(module, name) for module, _ in holders):
            codes = PackedMatrix(grid.matrix(name))
            for module, _ in holders:
                pack_module(module, codes)
            continue
        value = torch.from_numpy(grid.value(name)).clone()  # some checkpoints hand out their own memory
        if not holders:  # a buffer, which is never empty
            wanted[name].copy_(value)
        filled = torch.nn.Parameter(value)
        for module, key in holders:
            module._parameters[key] = filled


def _draw_heads(model: Any, checkpoint: Checkpoint) -> None:
    """Give the tensors of a head that no file has their first values: small normal numbers, of norms and biases fixed.

    Classes of transformers draw them in ways of their own, some of them only with the rest of the model.
    """
    stored, generator = set(checkpoint.head_names()), torch.Generator().manual_seed(0)
    spread = getattr(model.config, "initializer_range", 0.02)
    for name, parameter in list(model.named_parameters()):
        if not is_head(name) or name in stored:
            continue
        value = torch.full(parameter.shape, float(parameter.ndim == 1 and name.endswith("weight")))
        if parameter.ndim > 1:
            value = torch.randn(parameter.shape, generator=generator) * spread
        module, _, key = name.rpartition(".")
        model.get_submodule(module)._parameters[key] = torch.nn.Parameter(value)


def _fits(module: torch.nn.Module, name: str) -> bool:
    """Whether the codes' rows are the module's outputs."""
    return can_pack(module) and isinstance(module, Conv1D) == is_transposed(name)


def _build(checkpoint: Checkpoint, empty: bool) -> Any:
    """The model with weights yet to be filled in, without any memory where ``empty``; its buffers are computed."""
    config = read_config(checkpoint)
    attention = attention_of(config)
    options = {} if attention is None else {"attn_implementation": attention}
    try:
        with no_init_weights(), init_empty_weights() if empty else contextlib.nullcontext():
            model = build_model(config, checkpoint.task, **options)
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"transformers cannot build {checkpoint.name} (model_type {config.model_type!r}): {reason}"
        ) from error
    model.tie_weights()
    return model.eval()


def _check_fit(checkpoint: Checkpoint, names: Sequence[str], wanted: dict[str, torch.Tensor]) -> None:
    if wrong := _differences(checkpoint, names, wanted):
        raise CheckpointError(
            f"{checkpoint.name} does not fit its config ({checkpoint.config.get('model_type')}): {join_some(wrong)}"
        )


def _differences(checkpoint: Checkpoint, names: Sequence[str], wanted: dict[str, torch.Tensor]) -> list[str]:
    wrong = [f"{name} is missing" for name in sorted(set(wanted) - set(names)) if not is_head(name)]
    for name in names:
        if name not in wanted:
            wrong.append(f"{name} is unexpected")
        elif tuple(wanted[name].shape) != checkpoint.shape(name):
            wrong.append(f"{name} has shape {checkpoint.shape(name)}, expected {tuple(wanted[name].shape)}")
    return wrong
