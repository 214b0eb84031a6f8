"""The choices of one export, checked before anything heavy starts.

choices of one export -> ExportOptions, Target
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from edgelora.adapter.narrow import check_store
from edgelora.artifact.sharing import check_share
from edgelora.artifact.store import split_assignment
from edgelora.artifact.targets import TARGETS, Target, find_target
from edgelora.checkpoint.context_length import DEFAULT_CONTEXT
from edgelora.checkpoint.task import TASK_WORDS, find_task_word
from edgelora.data.template_options import TemplateVariables
from edgelora.errors import ConfigError
from edgelora.option import Option, join_names, read_text, split_names
from edgelora_runtime.manifest import FLOAT_CACHE, FLOAT_STORE, INT8_CACHE

MERGE_POLICIES = ("all", "auto")
ACCURACY_LEVELS = (0, 4)


def split_adapters(given: Sequence[str]) -> Mapping[str, Path]:
    """``NAME=FOLDER`` texts as folders by name; raises ConfigError for a name that comes twice."""
    pairs = [split_assignment(item) for item in given]
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"--adapter names {', '.join(twice)} more than once; give each adapter a name of its own")
    return dict(pairs)


def join_adapters(adapters: Mapping[str, str | Path]) -> list[str]:
    """The way back."""
    return [f"{name}={folder}" for name, folder in adapters.items()]


@dataclass(frozen=True)
class ExportOptions:
    """What an artifact is beside its base and its grid; raises ConfigError for what cannot be.

    ``slots`` are the last parts of the names of modules that adapters may plug into: None for every linear of the
    layers, empty for none. ``merge`` puts an adapter into the weights: all of it, refused when rounding would lose it
    unless ``accept_lossy_merge``, or layer by layer as ``merge_policy`` auto measures; then there are no slots.
    ``context_length`` is the most tokens that the artifact remembers, by default what ``choose_context_length`` says.
    ``template_variables`` are what the chat template gets on the device unless a call says otherwise.
    """

    target: Annotated[str, Option(f"Device profile: {', '.join(TARGETS)}.")] = "cpu"
    accuracy_level: Annotated[
        int | None,
        Option("4 rounds activations to 8 bits (fast), 0 keeps them float32 (exact).  [default: the target's]"),
    ] = None
    task: Annotated[
        str | None,
        Option(
            f"What the model is to do: {', '.join(TASK_WORDS)}.  [default: what the model's own head is for]",
            metavar="TASK",
        ),
    ] = None
    adapters: Annotated[
        Mapping[str, Path],
        Option(
            "Add an adapter; may be repeated.",
            names=("--adapter",),
            metavar="NAME=ADAPTER_DIR",
            kind=list[str] | None,
            parse=split_adapters,
            write=join_adapters,
        ),
    ] = field(default_factory=dict)
    store: Annotated[
        str,
        Option("What the factors of each --adapter are rounded to, on every device.", metavar="float32|float16|int8"),
    ] = FLOAT_STORE
    share: Annotated[
        str | None,
        Option("Factors of each --adapter that others have too: stored once for all of them.", metavar="a|b"),
    ] = None
    slots: Annotated[
        tuple[str, ...] | None,
        Option(
            "Let adapters plug into these alone, as q_proj,v_proj: fewer slots cost less of each token. q/k/v and "
            "gate/up are packed and come together.  [default: every linear]",
            metavar="MODULES",
            kind=str | None,
            parse=split_names,
            write=join_names,
        ),
    ] = None
    dora: Annotated[
        bool,
        Option(
            "Give slots a place for DoRA, one multiplication more of each; an --adapter that is DoRA brings it.",
            names=("--dora",),
        ),
    ] = False
    merge: Annotated[Path | None, Option("Merge this adapter into the weights; the artifact then has no slots.")] = None
    merge_policy: Annotated[
        str,
        Option(
            "all, or auto: measure for each layer whether to merge it, merge it at int8 or keep it factored. With "
            "auto, --budget-mb bounds graph and weights together, and KL is measured on the rows of --calibration if "
            "given."
        ),
    ] = "all"
    accept_lossy_merge: Annotated[
        bool,
        Option("Merge all, even where rounding loses most of what was trained.", names=("--accept-lossy-merge",)),
    ] = False
    max_kl: Annotated[
        float | None,
        Option("With --merge-policy auto: most KL divergence from the factored model, in nats.  [default: 0.05]"),
    ] = None
    budget_ms: Annotated[
        float | None, Option("With --merge-policy auto: most milliseconds of a decode step, measured on this machine.")
    ] = None
    context_length: Annotated[
        int | None,
        Option(
            "Tokens that prompt and answer may have together; a longer context takes memory for its positions.  "
            f"[default: the model's own, at most {DEFAULT_CONTEXT}]",
            metavar="N",
        ),
    ] = None
    kv_cache: Annotated[
        str,
        Option(
            "How keys and values of past tokens are kept: int8 takes a quarter of the memory, in steps that are "
            "measured on the rows of --calibration, if given, and with every --adapter.",
            metavar="float32|int8",
        ),
    ] = FLOAT_CACHE
    template_variables: TemplateVariables = None
    genai: Annotated[
        bool,
        Option(
            "Add a second graph over the same weights, with the settings of onnxruntime-genai, optimum and "
            "transformers.js."
        ),
    ] = False
    source: Annotated[
        str | None, Option("For people: where the base is from.  [default: MODEL where that is a hub id]")
    ] = None
    license: Annotated[str | None, Option("For people: the licence of the base, such as apache-2.0.")] = None
    overwrite: Annotated[bool, Option("Replace the artifact at OUTPUT.")] = False

    def __post_init__(self) -> None:
        read_text(self)
        find_task_word(self.task)
        profile = find_target(self.target)
        self._check_merge()
        if self.accuracy_level not in (None, *ACCURACY_LEVELS):
            raise ConfigError(
                f"--accuracy-level is {self.accuracy_level}; use 0 (float32 activations) or 4 (rounded activations)"
            )
        if self.merge is not None and self.adapters:
            raise ConfigError("--merge and --adapter exclude each other: a merged artifact has no slots")
        if self.merge is not None and self.slots:
            raise ConfigError("--merge and --slots exclude each other: a merged artifact has no slots")
        if self.merge is not None and self.dora:
            raise ConfigError("--merge and --dora exclude each other: a merged artifact has no slots")
        check_store(self.store)
        if self.store != FLOAT_STORE and not self.adapters:
            raise ConfigError("--store rounds the factors of adapters; give one with --adapter, or leave it out")
        check_share(self.share)
        if self.share is not None and not self.adapters:
            raise ConfigError("--share is for the factors of adapters; give one with --adapter, or leave it out")
        if self.kv_cache not in (FLOAT_CACHE, INT8_CACHE):
            raise ConfigError(f"--kv-cache is {self.kv_cache!r}; choose {FLOAT_CACHE} or {INT8_CACHE}")
        if self.kv_cache == INT8_CACHE and (self.genai or not profile.has_int8_cache):
            place = "onnxruntime-genai's files" if self.genai else f"the target {self.target}"
            raise ConfigError(f"{place} cannot keep the KV cache in 8 bits; leave out --kv-cache int8")

    def _check_merge(self) -> None:
        """Raise ConfigError for options that would be ignored."""
        is_auto = self.merge_policy == "auto"
        if self.merge_policy not in MERGE_POLICIES:
            raise ConfigError(f"--merge-policy is {self.merge_policy!r}; choose one of {', '.join(MERGE_POLICIES)}")
        if self.merge is None and (is_auto or self.accept_lossy_merge):
            raise ConfigError(
                "--merge-policy auto and --accept-lossy-merge say how to --merge ADAPTER_DIR; give that too"
            )
        if is_auto and self.accept_lossy_merge:
            raise ConfigError("--merge-policy auto loses no more than --max-kl; leave out --accept-lossy-merge")
        if not is_auto and (self.max_kl is not None or self.budget_ms is not None):
            raise ConfigError("--max-kl and --budget-ms belong to --merge-policy auto; give that too")

    @property
    def profile(self) -> Target:
        """What the target is."""
        return find_target(self.target)

    @property
    def level(self) -> int:
        """The accuracy level, the target's own where none was asked for."""
        return self.profile.accuracy_level if self.accuracy_level is None else self.accuracy_level


def check_task_options(options: ExportOptions, task: str) -> None:
    """Raise ConfigError for what an artifact without a KV cache cannot have."""
    wrong = {
        "--kv-cache int8": options.kv_cache == INT8_CACHE,
        "--genai": options.genai,
        "--merge-policy auto": options.merge_policy == "auto",
        "--template-var": bool(options.template_variables),
    }
    if found := [name for name, is_given in wrong.items() if is_given]:
        raise ConfigError(f"{', '.join(found)}: for models that write text; the task here is {task}, leave it out")
