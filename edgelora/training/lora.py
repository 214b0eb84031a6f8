"""Wraps the linears of a model with PEFT's LoRA and writes the result as a PEFT folder.

Knows nothing about data, losses or receipts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import safetensors.torch
import torch
from transformers.pytorch_utils import Conv1D

from edgelora.errors import ConfigError
from edgelora.training.options import ALL_LINEAR, TrainOptions

_LAYER_LINEAR = re.compile(r"(^|\.)(layers|h)\.\d+\.(?P<inside>.+)$")


def attach_lora(model: Any, options: TrainOptions, base_name: str) -> Any:
    """Freeze the model and give it fresh LoRA factors (drawn from the seed); returns the PEFT model around it.

    Raises ConfigError when a target module does not exist.
    """
    linears = layer_linears(model)
    targets = choose_targets(linears, options.target_modules)
    config = peft.LoraConfig(
        r=options.rank,
        lora_alpha=int(options.alpha) if options.alpha.is_integer() else options.alpha,
        target_modules=targets,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        # gpt2 keeps its weights as (in_features, out_features)
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in linears.values()),
    )
    torch.manual_seed(options.seed)
    wrapped = peft.get_peft_model(model, config)
    config.base_model_name_or_path = base_name  # before the call, PEFT would replace it with the model's empty path
    return wrapped


def layer_linears(model: Any) -> Mapping[str, torch.nn.Module]:
    """Every linear of the decoder layers by its full name; the head is none of them."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and _LAYER_LINEAR.search(name)
    }


def choose_targets(linears: Mapping[str, torch.nn.Module], wanted: Sequence[str]) -> list[str]:
    """The last parts of the names to adapt, sorted; raises ConfigError naming those that match no linear."""
    known = sorted({name.rsplit(".", 1)[-1] for name in linears})
    if tuple(wanted) == (ALL_LINEAR,):
        return known
    missing = [name for name in wanted if not any(linear == name or linear.endswith(f".{name}") for linear in linears)]
    if missing:
        raise ConfigError(
            f"--target-modules {' '.join(missing)}: no such linear in the decoder layers; "
            f"choose {ALL_LINEAR} or some of {', '.join(known)}"
        )
    return sorted(set(wanted))


def trainable(model: Any) -> list[torch.nn.Parameter]:
    """The parameters that learn, in the order of the model."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def adapter_state(wrapped: Any) -> dict[str, torch.Tensor]:
    """A copy of the LoRA factors under the names of a PEFT file, on the CPU."""
    # Asked for embeddings, PEFT would look the base up on the hub.
    state = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in sorted(state.items())}


def restore_adapter(wrapped: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Put saved factors back."""
    peft.set_peft_model_state_dict(wrapped, dict(state))


def write_peft(wrapped: Any, state: dict[str, torch.Tensor], folder: Path) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``."""
    # Written as bytes, the file gets the permissions of its neighbours; safetensors would keep it to its owner.
    (folder / "adapter_model.safetensors").write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
    config = wrapped.peft_config["default"]
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # PEFT holds a set, whose order differs from run to run
    config.save_pretrained(str(folder))
