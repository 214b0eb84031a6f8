"""Wraps the linears of a model with PEFT's LoRA and writes the result as a PEFT folder.

torch model, Recipe -> wrapped model -> a PEFT folder
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import safetensors.torch
import torch
from transformers.pytorch_utils import Conv1D

from edgelora.checkpoint.names import ONE_INPUT, is_layer_linear, weight_of
from edgelora.errors import AdapterError, ConfigError
from edgelora.torch_model.heads import trained_head
from edgelora.training.recipe import ALL_LINEAR, Recipe
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Factors

_INSIDE = re.compile(r"(^|[._])(layers?|h)\.\d+\.(?P<path>.+)$")
_COMMON = "dense"  # what encoders call a linear of their layers and one of a pooler or a head
CAUSAL_LM = "CAUSAL_LM"  # PEFT's word for a decoder that writes text


def attach_lora(
    model: Any,
    options: Recipe,
    base_name: str,
    first: Mapping[str, Factors] | None = None,
    saved: Sequence[str] = (),
    kind: str | None = CAUSAL_LM,
    invocation: Sequence[int] = (),
) -> Any:
    """Freeze the model and give it LoRA factors; returns the PEFT model around it.

    The modules ``saved`` learn as they are, and travel with the factors; ``kind`` is PEFT's word for the task;
    ``invocation`` are the token ids from which an activated adapter acts.

    They are fresh ones drawn from the seed, or those of ``first`` (module name -> factors), in which each module may
    have a rank and a scaling of its own. Raises ConfigError when a target module does not exist, and AdapterError when
    ``first`` does not fit the model.
    """
    linears = layer_linears(model)
    names = [name for name, _ in model.named_modules() if name not in linears]
    targets = choose_targets(linears, options.target_modules, names)
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    if first is not None:
        _check_modules(linears, first)
        if set(first) != {name for name in linears if _is_one_of(name, targets)}:
            targets = sorted(first)
        ranks = {name: item.a.shape[0] for name, item in first.items()}
        alphas = {name: round(item.scaling * ranks[name], 9) for name, item in first.items()}
    config = peft.LoraConfig(
        r=options.rank,
        lora_alpha=_plain(options.alpha),
        rank_pattern={name: rank for name, rank in ranks.items() if rank != options.rank},
        alpha_pattern={name: _plain(alpha) for name, alpha in alphas.items() if alpha != options.alpha},
        target_modules=targets,
        lora_dropout=options.dropout,
        bias="none",
        task_type=kind,
        modules_to_save=list(saved) or None,
        alora_invocation_tokens=list(invocation) or None,
        # gpt2 keeps its weights as (in_features, out_features)
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in linears.values()),
    )
    torch.manual_seed(options.seed)
    wrapped = peft.get_peft_model(model, config)
    wrapped.eval()  # what PEFT has added drops out like what a user trains
    config.modules_to_save = list(saved) or None  # PEFT adds what other models call their heads
    config.base_model_name_or_path = base_name  # before the call, PEFT would replace it with the model's empty path
    if options.share_a:
        _share_a(lora_layers(wrapped), first)
    if first is not None:
        set_factors(wrapped, first)
    return wrapped


def _share_a(layers: Mapping[str, Any], given: Mapping[str, Factors] | None) -> None:
    """Let the layers of one input learn one A, that of the first of them."""
    for leaves in ONE_INPUT:
        groups: dict[str, list[str]] = defaultdict(list)
        for name in layers:
            parent, _, leaf = name.rpartition(".")
            if leaf in leaves:
                groups[parent].append(name)
        for first, *others in groups.values():
            for other in others:
                if given is not None and not np.array_equal(given[first].a, given[other].a):
                    raise ConfigError(
                        f"--share-a: {first} and {other} have an A each in the adapter to start from; leave it out"
                    )
                layers[other].lora_A["default"].weight = layers[first].lora_A["default"].weight


def lora_layers(wrapped: Any) -> dict[str, Any]:
    """Every layer with LoRA factors by its name in the model below."""
    layers = wrapped.base_model.model.named_modules()
    return {name: layer for name, layer in layers if isinstance(layer, peft.tuners.lora.LoraLayer)}


def set_factors(wrapped: Any, factors: Mapping[str, Factors]) -> None:
    """Give layers these factors, of at most their own rank, so that each product with its scaling is the same.

    A direction that is zero in both factors could never learn: it keeps the A that the layer has.
    """
    layers = lora_layers(wrapped)
    with torch.no_grad():
        for name, item in factors.items():
            layer = layers[name]
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            rank = item.a.shape[0]
            used = torch.from_numpy(item.a.any(axis=1) | item.b.any(axis=0)).to(a.device)
            given = torch.tensor(item.a, device=a.device)
            a[:rank] = torch.where(used[:, None], given, a[:rank])
            b.zero_()
            b[:, :rank] = torch.tensor(item.b, device=b.device) * (item.scaling / layer.scaling["default"])


def set_head(wrapped: Any, head: Mapping[str, FloatArray]) -> None:
    """Give the modules that learn as they are these values, by the names of their tensors in the model.

    Raises AdapterError for a tensor of another shape, or that does not learn.
    """
    learning = trained_head(wrapped.base_model.model)
    with torch.no_grad():
        for name, value in head.items():
            found = learning.get(name)
            if found is None or tuple(found.shape) != value.shape:
                shape = "does not learn" if found is None else f"has {tuple(found.shape)}"
                raise AdapterError(
                    f"the adapter to start from has a head {name} {value.shape}, which here {shape}; its labels must "
                    "be those of the rows"
                )
            found.copy_(torch.tensor(value, device=found.device))


def current_factors(wrapped: Any) -> dict[str, Factors]:
    """The factors of every adapted layer by its name in the model, as numpy arrays."""
    return {
        name: Factors(
            layer.lora_A["default"].weight.detach().cpu().numpy().copy(),
            layer.lora_B["default"].weight.detach().cpu().numpy().copy(),
            float(layer.scaling["default"]),
        )
        for name, layer in lora_layers(wrapped).items()
    }


def layer_linears(model: Any) -> Mapping[str, torch.nn.Module]:
    """Every linear of the layers by its full name; the head is none of them."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and is_layer_linear(weight_of(name))
    }


def choose_targets(linears: Mapping[str, Any], wanted: Sequence[str], others: Sequence[str] = ()) -> list[str]:
    """The endings of the names to adapt, sorted; raises ConfigError naming those that match no linear.

    An ending that a module of ``others`` has too becomes longer: the path inside of the layer.
    """
    known = sorted({name.rsplit(".", 1)[-1] for name in linears})
    missing = [name for name in wanted if name != ALL_LINEAR and not any(_is_one_of(item, [name]) for item in linears)]
    if missing or (ALL_LINEAR in wanted and len(wanted) > 1):
        raise ConfigError(
            f"--target-modules {' '.join(missing or wanted)}: no such linear in the layers; "
            f"choose {ALL_LINEAR} or some of {', '.join(known)}"
        )
    chosen: set[str] = set()
    for ending in known if tuple(wanted) == (ALL_LINEAR,) else wanted:
        if ending != _COMMON and not any(_is_one_of(name, [ending]) for name in others):
            chosen.add(ending)
            continue
        places = [_INSIDE.search(name) for name in linears if _is_one_of(name, [ending])]
        chosen |= {place["path"] for place in places if place is not None}
    return sorted(chosen)


def _is_one_of(name: str, endings: Sequence[str]) -> bool:
    """Whether PEFT takes a module of that name for one of ``target_modules``."""
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def trainable(model: Any) -> list[torch.nn.Parameter]:
    """The parameters that learn, in the order of the model."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def trainable_groups(model: Any) -> list[list[torch.nn.Parameter]]:
    """The factors, in the order of the model; then, where a head learns beside them, its weights."""
    head = {id(parameter) for parameter in trained_head(model).values()}
    groups = [[item for item in trainable(model) if (id(item) in head) is is_head] for is_head in (False, True)]
    return [group for group in groups if group]


def adapter_state(wrapped: Any) -> dict[str, torch.Tensor]:
    """A copy of the LoRA factors under the names of a PEFT file, on the CPU."""
    # Asked for embeddings, PEFT would look the base up on the hub.
    tensors = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in sorted(tensors.items())}


def restore_adapter(wrapped: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put saved factors back."""
    peft.set_peft_model_state_dict(wrapped, dict(tensors))


def _check_modules(linears: Mapping[str, Any], first: Mapping[str, Factors]) -> None:
    wrong = [f"{name}: the base has no such linear in its layers" for name in first if name not in linears]
    for name, item in first.items():
        if name in linears:
            shape = tuple(linears[name].weight.shape)  # (out_features, in_features), of Conv1D the other way round
            expected = shape[::-1] if isinstance(linears[name], Conv1D) else shape
            found = (item.b.shape[0], item.a.shape[1])
            if found != expected:
                wrong.append(f"{name}: B A is {found}, the base {expected}")
    if wrong:
        raise AdapterError(f"the adapter to start from does not fit the base: {'; '.join(wrong)}")


def _plain(alpha: float) -> float | int:
    return int(alpha) if float(alpha).is_integer() else alpha


def write_peft(wrapped: Any, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``."""
    # Written as bytes, the file gets the permissions of its neighbours; safetensors would keep it to its owner.
    (folder / "adapter_model.safetensors").write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))
    config = wrapped.peft_config["default"]
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # PEFT holds a set, whose order differs from run to run
    config.save_pretrained(str(folder))
