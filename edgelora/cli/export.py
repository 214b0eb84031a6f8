"""``edgelora export``: compile a base model and adapters into an artifact.

Knows nothing about how it is done; it reads options, opens the checkpoint and shows progress.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgelora.artifact.context_length import DEFAULT_CONTEXT, own_context_length
from edgelora.artifact.export import export_artifact
from edgelora.artifact.exporter import find_exporter
from edgelora.artifact.store import split_assignment
from edgelora.artifact.targets import MATMUL_INTEGER, TARGETS, find_target
from edgelora.cli.grid_options import (
    BlockSize,
    BudgetBits,
    BudgetMb,
    Calibration,
    EmbeddingBits,
    Quant,
    QuantMethod,
    Symmetric,
    grid_bar,
    grid_choice,
)
from edgelora.cli.merge_lines import describe_merge
from edgelora.cli.merge_options import (
    AcceptLossyMerge,
    BudgetMs,
    MaxKl,
    MergePolicy,
    auto_merge,
    check_merge_options,
)
from edgelora.cli.output import Json, emit
from edgelora.cli.template_options import TemplateVar, read_variables
from edgelora.cli.training_options import split_names
from edgelora.errors import ConfigError
from edgelora.torch_model.choose_grid import grid_maker, is_grid_file, uses_calibration
from edgelora.torch_model.merge_kl import read_kl_prompts
from edgelora.torch_model.open_base import open_base
from edgelora.torch_model.reference import answer_float, make_reference
from edgelora_runtime.manifest import FLOAT_CACHE, INT8_CACHE


def export(
    model: Annotated[str, typer.Argument(help="A Hugging Face folder, a hub id, or a GGUF file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The artifact folder to write; it must not exist.")],
    target: Annotated[str, typer.Option(help=f"Device profile: {', '.join(TARGETS)}.")] = "cpu",
    quant: Quant = None,
    block_size: BlockSize = None,
    symmetric: Symmetric = None,
    quant_method: QuantMethod = None,
    calibration: Calibration = None,
    budget_mb: BudgetMb = None,
    budget_bits: BudgetBits = None,
    embedding_bits: EmbeddingBits = None,
    accuracy_level: Annotated[
        int | None, typer.Option(help="4 multiplies rounded activations (fast), 0 keeps float32; default by target.")
    ] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=ADAPTER_DIR", help="Add an adapter; may be repeated.")
    ] = None,
    slots: Annotated[
        str | None,
        typer.Option(
            metavar="MODULES",
            help="Let adapters plug into these alone, as q_proj,v_proj: fewer slots cost less of each token. q/k/v and "
            "gate/up are packed and come together.  [default: every linear]",
        ),
    ] = None,
    merge: Annotated[
        Path | None, typer.Option(help="Merge this adapter into the weights; the artifact then has no slots.")
    ] = None,
    merge_policy: MergePolicy = "all",
    accept_lossy_merge: AcceptLossyMerge = False,
    max_kl: MaxKl = None,
    budget_ms: BudgetMs = None,
    context_length: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Tokens that prompt and answer may have together; a longer context takes memory for its positions.  "
            f"[default: the model's own, at most {DEFAULT_CONTEXT}]",
        ),
    ] = None,
    kv_cache: Annotated[
        str,
        typer.Option(
            metavar="float32|int8",
            help="Keys and values that the model remembers: int8 takes a quarter of the memory of each token, on steps "
            "measured on the rows of --calibration, if given, and with every --adapter.",
        ),
    ] = FLOAT_CACHE,
    template_var: TemplateVar = None,
    genai: Annotated[bool, typer.Option(help="Add a twin graph and settings for onnxruntime-genai.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the artifact at OUTPUT.")] = False,
    json: Json = False,
) -> None:
    """Compile MODEL into an artifact: a quantized graph with slots, one weight file, tokenizer, adapters.

    Example: edgelora export SmolLM2.gguf -o smol --adapter support=adapters/support
    """
    profile = find_target(target)
    check_merge_options(merge_policy, merge, accept_lossy_merge, max_kl, budget_ms)
    auto = merge_policy == "auto"
    grid_mb, label = None if auto else budget_mb, quant or profile.quant
    if profile.linear_op == MATMUL_INTEGER and (grid_mb is not None or budget_bits is not None):
        raise ConfigError(
            f"--target {target} stores every linear in 8 bits (or floats) whatever bits its grid has, so no budget of "
            "the grid can be kept; leave out --budget-mb and --budget-bits, or choose another target"
        )
    # With auto the budget is that of the artifact, not of the grid, and the rows are what KL is measured on.
    reads_rows = auto or kv_cache == INT8_CACHE  # whatever the grid does with them
    rows = None if reads_rows and is_grid_file(label) else calibration
    choice = grid_choice(label, block_size, symmetric, quant_method, rows, grid_mb, budget_bits, embedding_bits)
    if reads_rows and not uses_calibration(choice):
        choice = dataclasses.replace(choice, calibration=None)
    if merge is not None and not auto and is_grid_file(choice.quant):
        raise ConfigError(
            f"--quant {choice.quant} holds the codes of the base, which --merge changes; give the label that the "
            "merged weights are rounded with, such as int4"
        )
    if accuracy_level not in (None, 0, 4):
        raise ConfigError(
            f"--accuracy-level is {accuracy_level}; use 0 (float32 activations) or 4 (rounded activations)"
        )
    adapters = _split_adapters(adapter or ())
    if merge is not None and adapters:
        raise ConfigError("--merge and --adapter exclude each other: a merged artifact has no slots")
    if merge is not None and slots is not None:
        raise ConfigError("--merge and --slots exclude each other: a merged artifact has no slots")
    if kv_cache not in (FLOAT_CACHE, INT8_CACHE):
        raise ConfigError(f"--kv-cache is {kv_cache!r}; choose {FLOAT_CACHE} or {INT8_CACHE}")
    started = time.perf_counter()
    checkpoint = open_base(model)
    manifest = export_artifact(
        checkpoint,
        output,
        exporter=find_exporter(),
        make_grid=grid_maker(choice, grid_bar),
        target=profile,
        accuracy_level=accuracy_level,
        slots=None if slots is None else split_names(slots),
        merge=merge,
        accept_lossy_merge=accept_lossy_merge,
        auto=auto_merge(checkpoint, calibration, max_kl, budget_mb, budget_ms) if auto else None,
        adapters=adapters,
        reference=make_reference,
        answer_float=answer_float,
        genai=genai,
        template_variables=read_variables(template_var),
        context_length=context_length,
        kv_cache=kv_cache,
        budget_mb=grid_mb,
        cache_prompts=read_kl_prompts(checkpoint, calibration) if calibration and kv_cache == INT8_CACHE else (),
        overwrite=overwrite,
    )
    size = sum(item.bytes for item in manifest.files.values())
    seconds = round(time.perf_counter() - started, 1)
    emit(
        json,
        {
            "artifact": str(output),
            "bytes": size,
            "seconds": seconds,
            "quantization": dict(manifest.quantization),
            "rounding": manifest.quantization.get("rounding"),
            "slots": len(manifest.slots),
            "context_length": manifest.model.context_length,
            "adapters": [item.name for item in manifest.adapters],
            "merged": None if manifest.merged is None else dict(manifest.merged),
            "notes": manifest.report["notes"],
        },
        [
            f"wrote {output}: {size / 1e6:.1f} MB with {len(manifest.slots)} slots in {seconds} s",
            *_describe_rounding(manifest.quantization),
            *_describe_cost(manifest.quantization.get("rounding")),
            *describe_merge(manifest.merged),
            *_describe_context(manifest.model.context_length, own_context_length(checkpoint)),
            *(f"note: {text}" for text in manifest.report["notes"]),
        ],
    )


def _split_adapters(given: Sequence[str]) -> Mapping[str, Path]:
    pairs = [split_assignment(item) for item in given]
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"--adapter names {', '.join(twice)} more than once; give each adapter a name of its own")
    return dict(pairs)


def _describe_rounding(quantization: Mapping[str, Any]) -> list[str]:
    """How far the weights moved, for people; nothing where none was rounded."""
    if not quantization.get("worst_tensor"):
        return []
    mean, worst = (f"{100 * quantization[key]:.1f} %" for key in ("mean_relative_error", "worst_relative_error"))
    where, bits = quantization["worst_tensor"], quantization["bits_per_weight"]
    return [f"rounding: {mean} of a weight's size on average, at most {worst} ({where}); {bits} bits per weight"]


def _describe_cost(rounding: Mapping[str, Any] | None) -> list[str]:
    """What rounding does to answers; nothing where it was not measured."""
    if rounding is None:
        return []
    parts = f"{rounding['kl_grid']:.3g} by the grid, {rounding['kl_device']:.2g} by arithmetic on the device"
    kept = f"{100 * rounding['top1_agreement']:.1f} % of top tokens stay"
    where = f"{rounding['positions']} positions of built-in text"
    return [f"answers: KL {rounding['kl']:.3g} nats from the float model ({parts}), {kept}; {where}"]


def _describe_context(length: int, own: int) -> list[str]:
    """A context that is shorter than it could be; nothing where it is whole."""
    return [f"context: {length} tokens; the model knows {own} (--context-length)"] if length < own else []
