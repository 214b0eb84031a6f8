"""The configuration of a PEFT LoRA folder: what of it changes the answers, checked field by field.

adapter_config.json -> LoraConfig

PEFT 0.21 is the reference for what a field means; what would change the tensors or the base in a way that no slot can
express is refused, since ignoring it would give other answers silently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora_runtime.claims import Narrowing, Targets
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.names import is_hash
from edgelora_runtime.parse_json import join_some, parse_json, read_json, show
from edgelora_runtime.patterns import PatternError, matches_ending, parse_pattern

CONFIG_FILE = "adapter_config.json"
# ``peft_type`` of DoRA that was converted for a grid, which its field GRID_FIELD names. PEFT, which would leave the
# gains unread, does not open it.
DORA_TYPE = "EDGELORA_DORA"
GRID_FIELD = "edgelora_grid"
EXPECTED = (
    "expected plain LoRA as PEFT saves it; `edgelora adapter convert` and `edgelora export --merge` take more kinds"
)

_LONGEST = 4 << 20  # bytes; one with a rank for each of thousands of modules has a tenth
_LARGEST_RANK = 65536
_LARGEST_ALPHA = 1e6
_MOST_PATTERNS = 4096
_LONGEST_INVOCATION = 1024  # tokens
_LARGEST_TOKEN = (1 << 31) - 1
_ADVICE = "save the adapter again"
FORMS = {  # options of LoRA that make it more than A and B
    "use_dora": "DoRA",
    "lora_bias": "LoRA biases",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "trainable_token_indices": "trained token embeddings (trainable_token_indices)",
    "target_parameters": "adapted bare parameters (target_parameters)",
    "layer_replication": "replicated layers (layer_replication)",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
}
_LIST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_BASE_CHANGING_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")
_OTHER_STARTS = frozenset({"gaussian", "eva", "orthogonal", "mica"})
_READ = frozenset({
    "peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules", "modules_to_save",
    "bias", "init_lora_weights", "alora_invocation_tokens", "layers_to_transform", "layers_pattern",
    "exclude_modules", GRID_FIELD, *FORMS,
})  # fmt: skip
_HARMLESS = frozenset({  # what says how it was trained, or for whom; PEFT's other fields
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config", "fan_in_fan_out",
    "inference_mode", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core",
    "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type",
})  # fmt: skip


@dataclass(frozen=True)
class LoraConfig:
    """LoRA. ``targets`` are ``target_modules``, a pattern or endings; None where they name no modules."""

    rank: int
    alpha: float
    is_rank_stabilized: bool
    ranks: Mapping[str, int]  # pattern -> rank
    alphas: Mapping[str, float]  # pattern -> alpha
    targets: Targets | None
    narrowing: Narrowing
    saved: tuple[str, ...] = ()  # modules_to_save: those of a head, trained whole
    unknown: tuple[str, ...] = ()  # fields that say something nobody here has heard of
    invocation: tuple[int, ...] = ()  # alora_invocation_tokens: it acts from their last place in a prompt on
    grid: str | None = None  # of DoRA: the grid that its gains were computed on
    base: str | None = None  # base_model_name_or_path

    def rank_of(self, module: str) -> int:
        """PEFT's rule: the first pattern that matches the end of the module's name, else ``r``."""
        return next((rank for pattern, rank in self.ranks.items() if matches_ending(pattern, module)), self.rank)

    def scaling_of(self, module: str, rank: int) -> float:
        """Alpha over the module's rank, or over its root with ``use_rslora``."""
        alpha = next((item for key, item in self.alphas.items() if matches_ending(key, module)), self.alpha)
        return alpha / math.sqrt(rank) if self.is_rank_stabilized else alpha / rank


def read_config(folder: Path, with_head: bool = False, with_gains: bool = False) -> LoraConfig:
    """The configuration in an adapter folder; raises one AdapterError with everything that cannot be used.

    ``with_head`` reads ``modules_to_save``, which is refused elsewhere: only a head can be swapped whole.
    ``with_gains`` takes DoRA that was converted for a grid, which is more than A and B.
    """
    return check_config(read_fields(folder), str(folder / CONFIG_FILE), with_head, with_gains)


def read_fields(folder: Path) -> dict[str, Any]:
    """The fields of ``adapter_config.json`` as they stand there, of whatever method; raises AdapterError."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise AdapterError(f"{folder} has no {CONFIG_FILE}; expected a folder saved by PEFT")
    return _object(read_json(path, AdapterError, _ADVICE, _LONGEST), str(path))


def parse_config(
    content: bytes, where: str = CONFIG_FILE, with_head: bool = False, with_gains: bool = False
) -> LoraConfig:
    """The configuration that ``content`` is; raises what ``read_config`` raises."""
    fields = _object(parse_json(content, where, AdapterError, _ADVICE, _LONGEST), where)
    return check_config(fields, where, with_head, with_gains)


def base_of(config: Mapping[str, Any]) -> str | None:
    """What ``base_model_name_or_path`` calls the base of an adapter; None where it calls it nothing."""
    name = config.get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def changes_base(start: str) -> bool:
    """Whether an adapter with these ``init_lora_weights`` took a part of the base away when it began."""
    return start.lower().startswith(_BASE_CHANGING_STARTS)


def read_claims(config: Mapping[str, Any]) -> tuple[Targets | None, Narrowing]:
    """``target_modules``, None where they name no modules, and what narrows them; AdapterError for other types."""
    if wrong := _wrong_types(config):
        raise AdapterError(f"{CONFIG_FILE} cannot be used: {join_some(wrong)}; {EXPECTED}")
    return _targets(config), _narrowing(config)


def is_saved(tensor: str, saved: Sequence[str]) -> bool:
    """Whether a tensor lies in a module of ``modules_to_save``, which are names of modules or endings of names.

    As in PEFT an ending need not begin behind a dot: "classifier" names DistilBERT's ``pre_classifier`` too.
    """
    path = tensor.split(".")
    return any(".".join(path[:end]).endswith(tuple(saved)) for end in range(1, len(path)))


def check_target_pattern(targets: str) -> None:
    """Raise AdapterError for ``target_modules`` that no runtime could match with names of modules."""
    if why := _pattern_problem(targets):
        raise AdapterError(f"target_modules: {why}; expected a pattern as docs/format.md describes them, or names")


def _object(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise AdapterError(f"{where} holds {show(content)}, expected an object; {_ADVICE}")
    return content


def check_config(
    config: Mapping[str, Any], where: str, with_head: bool = False, with_gains: bool = False
) -> LoraConfig:
    """The configuration that its fields are; raises what ``read_config`` raises."""
    saved = config.get("modules_to_save") or []
    is_dora = with_gains and config.get("peft_type") == DORA_TYPE
    wrong = _refusals(config, DORA_TYPE if is_dora else "LORA") + _wrong_types(config) + _wrong_numbers(config)
    if saved and not with_head:
        wrong.append("it uses fully trained modules (modules_to_save), which only the head of an encoder can be")
    elif not _is_list_of(saved, str) or not all(saved):
        wrong.append(f"modules_to_save is {show(saved)}, expected a list of names")
    if why := _invocation_problem(config.get("alora_invocation_tokens")):
        wrong.append(why)
    if is_dora and not (isinstance(grid := config.get(GRID_FIELD), str) and is_hash(grid)):
        wrong.append(f"{GRID_FIELD} is {show(config.get(GRID_FIELD))}, expected 64 lower-case hexadecimal digits")
    if wrong:
        raise AdapterError(f"{where} cannot be used: {join_some(wrong)}; {EXPECTED}")
    return LoraConfig(
        rank=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        is_rank_stabilized=bool(config.get("use_rslora")),
        ranks={key: int(value) for key, value in (config.get("rank_pattern") or {}).items()},
        alphas={key: float(value) for key, value in (config.get("alpha_pattern") or {}).items()},
        targets=_targets(config),
        narrowing=_narrowing(config),
        saved=tuple(saved),
        unknown=tuple(field for field, value in config.items() if value and field not in _READ | _HARMLESS),
        invocation=tuple(int(token) for token in config.get("alora_invocation_tokens") or ()),
        grid=config[GRID_FIELD] if is_dora else None,
        base=base_of(config),
    )


def _refusals(config: Mapping[str, Any], kind: str) -> list[str]:
    wrong = []
    if config.get("peft_type") != kind:
        wrong.append(f"peft_type is {show(config.get('peft_type'))}, expected 'LORA'")
    wrong += [f"it uses {words}" for field, words in FORMS.items() if config.get(field)]
    if config.get("bias", "none") != "none":
        wrong.append(f"bias is {show(config['bias'])}, expected 'none'")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and changes_base(start):
        wrong.append(
            f"init_lora_weights is {show(start)}, which changes the base; `edgelora adapter convert` takes that out"
        )
    elif isinstance(start, str) and start.lower() not in _OTHER_STARTS:
        wrong.append(f"init_lora_weights is {show(start)}, an unknown start, which may have changed the base")
    return wrong


def _wrong_types(config: Mapping[str, Any]) -> list[str]:
    wrong = []
    if not isinstance(config.get("use_rslora"), bool | None):
        wrong.append(f"use_rslora is {show(config['use_rslora'])}, expected true or false")
    if not isinstance(config.get("init_lora_weights"), bool | str | None):
        wrong.append(f"init_lora_weights is {show(config['init_lora_weights'])}, expected true, false or text")
    for field in ("target_modules", "exclude_modules", "layers_pattern"):
        value = config.get(field)
        if not isinstance(value, str | None) and not _is_list_of(value, str):
            wrong.append(f"{field} is {show(value)}, expected text or a list of texts")
    layers = config.get("layers_to_transform")
    if layers is not None and not _is_list_of(layers if isinstance(layers, list) else [layers], int):
        wrong.append(f"layers_to_transform is {show(layers)}, expected whole numbers")
    patterns = {name: config.get(name) for name in ("target_modules", "exclude_modules")}
    wrong += [
        f"{name}: {why}" for name, text in patterns.items() if isinstance(text, str) and (why := _pattern_problem(text))
    ]
    return wrong or _wrong_layers(config)


def _wrong_layers(config: Mapping[str, Any]) -> list[str]:
    """What PEFT itself does not open, of fields that are of the right types; and patterns where names stand."""
    narrowing = _narrowing(config)
    wrong = []
    if narrowing.layers and isinstance(config.get("target_modules"), str):
        told = show(config["layers_to_transform"])
        wrong.append(f"layers_to_transform is {told}, expected none where target_modules is a pattern")
    if narrowing.lists and not narrowing.layers:
        wrong.append(f"layers_pattern is {show(config['layers_pattern'])}, expected layers_to_transform beside it")
    if not all(map(_LIST_NAME.fullmatch, narrowing.lists)):
        wrong.append(f"layers_pattern is {show(config['layers_pattern'])}, expected names such as 'layers'")
    return wrong


def _wrong_numbers(config: Mapping[str, Any]) -> list[str]:
    wrong = []
    for field, check in (("r", _rank_problem), ("lora_alpha", _alpha_problem)):
        if why := check(config.get(field)):
            wrong.append(f"{field} {why}")
    for field, check in (("rank_pattern", _rank_problem), ("alpha_pattern", _alpha_problem)):
        patterns = config.get(field)
        if patterns is None:
            continue
        if not isinstance(patterns, dict) or len(patterns) > _MOST_PATTERNS:
            wrong.append(f"{field} is {show(patterns)}, expected an object of at most {_MOST_PATTERNS} patterns")
            continue
        for pattern, value in patterns.items():
            if why := _pattern_problem(pattern):
                wrong.append(f"{field}: {why}")
            if why := check(value):
                wrong.append(f"{field} of {show(pattern)} {why}")
    return wrong


def _invocation_problem(tokens: Any) -> str | None:
    if not tokens:  # as PEFT takes it: not activated
        return None
    if isinstance(tokens, list) and len(tokens) <= _LONGEST_INVOCATION and all(map(_is_token, tokens)):
        return None
    return f"alora_invocation_tokens is {show(tokens)}, expected at most {_LONGEST_INVOCATION} token ids"


def _is_token(value: Any) -> bool:
    return _is_number(value) and value == value // 1 and 0 <= value <= _LARGEST_TOKEN


def _pattern_problem(pattern: str) -> str | None:
    try:
        parse_pattern(pattern)
    except PatternError as error:
        return f"the pattern {show(pattern)} cannot be used: {error}"
    return None


def _rank_problem(value: Any) -> str | None:
    if _is_number(value) and value == value // 1 and 1 <= value <= _LARGEST_RANK:
        return None
    return f"is {show(value)}, expected a whole number from 1 to {_LARGEST_RANK}"


def _alpha_problem(value: Any) -> str | None:
    if _is_number(value) and 0 < value <= _LARGEST_ALPHA:
        return None
    return f"is {show(value)}, expected a number above 0, at most {_LARGEST_ALPHA:g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)


def _targets(config: Mapping[str, Any]) -> Targets | None:
    targets = config.get("target_modules")
    if targets is None or targets == "all-linear":
        return None
    return targets if isinstance(targets, str) else tuple(targets)


def _narrowing(config: Mapping[str, Any]) -> Narrowing:
    excluded, layers = config.get("exclude_modules") or (), config.get("layers_to_transform")
    lists = config.get("layers_pattern") or ()
    return Narrowing(
        excluded=excluded if isinstance(excluded, str) else tuple(excluded),
        layers=(layers,) if isinstance(layers, int) else tuple(layers or ()),
        lists=(lists,) if isinstance(lists, str) else tuple(lists),
    )
