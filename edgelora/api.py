"""The whole way in Python: train, recover, quantize, export, add, merge, compare adapters, verify; as commands do it.

paths, options -> QuantizeResult, ExportResult, TrainResult, AdapterInfo, MergeResult, Difference, Interference

Raises EdgeLoraError for whatever a caller can put right.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelora.adapter.merge_options import FitOptions, MergeOptions, check_fit
from edgelora.artifact.changing import check_outside
from edgelora.artifact.options import ExportOptions, check_task_options
from edgelora.artifact.targets import MATMUL_INTEGER, MATMUL_NBITS
from edgelora.checkpoint.folder import hub_repository
from edgelora.checkpoint.task import find_task_word
from edgelora.data.rows import is_text
from edgelora.errors import ConfigError
from edgelora.evaluation.asked import Asked
from edgelora.grid.file import check_is_grid, write_grid
from edgelora.grid.make import parse_quant
from edgelora.option import COMMAND_KEY, is_options_of, record_options, write_options
from edgelora.progress import SILENT, Progress
from edgelora.torch_model.choose_grid import (
    ChosenGrid,
    GridChoice,
    calibrated_on,
    check_choice,
    choose_grid,
    evened,
    grid_maker,
    is_grid_file,
    uses_calibration,
)
from edgelora.torch_model.known_grid import known_choice
from edgelora.torch_model.open_base import open_base
from edgelora.training.options import RecoverOptions, TrainOptions
from edgelora.values import Checkpoint
from edgelora_runtime.files import check_writable
from edgelora_runtime.manifest import FLOAT_STORE, INT8_CACHE, MANIFEST_FILE, Manifest
from edgelora_runtime.receipt import read_receipt

if TYPE_CHECKING:  # torch, which nobody waits for who only imports
    from edgelora.adapter.difference import Difference
    from edgelora.adapter.merge_folders import MergeResult
    from edgelora.artifact.about import About
    from edgelora.artifact.verify import VerifyReport
    from edgelora.evaluation.interference import Interference
    from edgelora.training.run import RunPlan, TrainResult
    from edgelora_runtime.manifest import AdapterInfo

_OF_OUT = {"resume", "overwrite"}
StrPath = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class QuantizeResult:
    """A grid file, what is in it, and how the budget was spent where there was one."""

    path: Path
    chosen: ChosenGrid
    seconds: float


@dataclass(frozen=True)
class ExportResult:
    """An artifact and its manifest."""

    artifact: Path
    manifest: Manifest
    model_context: int  # tokens that the model itself knows, where the artifact may be asked for fewer
    seconds: float


def train(
    model: StrPath,
    data: StrPath,
    out: StrPath,
    options: TrainOptions = TrainOptions(),
    *,
    grid: GridChoice = GridChoice("int4"),
    progress: Progress = SILENT,
) -> TrainResult:
    """Train a LoRA adapter on the values that an export with the same ``grid`` will ship.

    ``model`` is a Hugging Face folder, a hub id or a GGUF file, ``data`` a file of rows, ``out`` the PEFT folder to
    write. What is learned follows from ``options.task``, or from what the model is for.
    """
    recipe, rows = options.recipe(), Path(data)  # options that are refused do not pay for torch
    make_grid = grid_maker(calibrated_on(grid, rows), progress)
    from edgelora.training.task_lesson import train_task

    plan = _plan(options, model, rows, Path(out), _config("train", (grid, options), model=model, data=data))
    checkpoint = open_base(os.fspath(model), find_task_word(options.task))
    return train_task(checkpoint, make_grid, plan, recipe, progress)


def recover(
    model: StrPath,
    data: StrPath,
    out: StrPath,
    options: RecoverOptions = RecoverOptions(),
    *,
    grid: GridChoice = GridChoice("int2"),
    progress: Progress = SILENT,
) -> TrainResult:
    """Train an adapter that gives back what a coarse ``grid`` took from the base; losses are KL in nats per token,
    of a model that reads texts once the share of what stands behind its layers that is off.

    ``data`` is plain text (.txt) or rows; the rest is as for ``train``.
    """
    recipe, rows = options.recipe(), Path(data)
    # Plain text has no rows to calibrate on.
    make_grid = grid_maker(grid if is_text(rows) else calibrated_on(grid, rows), progress)
    from edgelora.training.recover import recover_adapter

    plan = _plan(options, model, rows, Path(out), _config("recover", (grid, options), model=model, data=data))
    checkpoint = open_base(os.fspath(model), find_task_word(options.task))
    return recover_adapter(checkpoint, make_grid, plan, recipe, progress)


def quantize(
    model: StrPath,
    out: StrPath,
    grid: GridChoice = GridChoice("int4"),
    *,
    task: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> QuantizeResult:
    """Write the grid of a base as one file, for ``GridChoice(quant=FILE)`` in ``train`` and ``export``.

    Beside it, under the same name with ``.options.json``, is what ``--config`` reads to repeat it.
    """
    path = Path(out)
    _check_grid_file(path, overwrite)
    if is_grid_file(grid.quant):
        raise ConfigError(f"{grid.quant} is a grid file already; give --quant int8, int4 or int2")
    check_choice(grid)
    if parse_quant(grid.quant).spec is None:
        raise ConfigError(f"--quant {grid.quant} keeps floats and has no codes to write; give int8, int4 or int2")
    started = time.perf_counter()
    chosen = choose_grid(open_base(os.fspath(model), find_task_word(task)), grid, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = options_beside(path)
    beside.unlink(missing_ok=True)  # never those of another grid, whenever this ends
    write_grid(path, chosen.grid)
    asked = {} if task is None else {"task": task}
    write_options(beside, _config("quantize", (grid,), model=model, **asked))
    return QuantizeResult(path, chosen, round(time.perf_counter() - started, 1))


def export(
    model: StrPath,
    out: StrPath,
    options: ExportOptions = ExportOptions(),
    *,
    grid: GridChoice = GridChoice("int4"),
    progress: Progress = SILENT,
) -> ExportResult:
    """Compile a base and its adapters into an artifact: a quantized graph with slots, weights, tokenizer, adapters.

    With ``merge_policy`` auto the budget of ``grid`` is that of the artifact, and its ``calibration`` is what the KL of
    a merge is measured on; an int8 KV cache is measured on these rows too.
    """
    from edgelora.artifact.build import Build
    from edgelora.artifact.convert_adapters import plain_adapters
    from edgelora.artifact.export import fill_artifact, place_artifact
    from edgelora.artifact.exporter import find_exporter
    from edgelora.artifact.parts import Parts
    from edgelora.checkpoint.context_length import own_context_length
    from edgelora.merging.merge import read_factors
    from edgelora.merging.merge_all import merge_all
    from edgelora.merging.merge_auto import AutoMerge, merge_auto
    from edgelora.merging.merge_policy import Limits
    from edgelora.torch_model.merge_kl import read_kl_prompts

    if options.source is None and not os.path.exists(model):
        options = dataclasses.replace(options, source=os.fspath(model))
    choice = _grid_of(grid, options)
    make_grid = grid_maker(choice, progress)
    max_bytes = None if grid.budget_mb is None else int(1e6 * grid.budget_mb)
    limits = Limits(0.05 if options.max_kl is None else options.max_kl, max_bytes, options.budget_ms)
    auto, int8 = options.merge_policy == "auto", options.kv_cache == INT8_CACHE
    started, checkpoint = time.perf_counter(), open_base(os.fspath(model), find_task_word(options.task))
    if not checkpoint.task.generates:
        check_task_options(options, checkpoint.task.name)
    if choice.budget is not None:
        _check_bits_ship(options, checkpoint)
    prompts: Sequence[Sequence[int]] = ()
    if grid.calibration is not None and (auto or int8):
        prompts = read_kl_prompts(checkpoint, grid.calibration)
    build = Build(
        exporter=find_exporter(),
        options=options,
        cache_prompts=prompts if int8 else (),
        budget_mb=choice.budget_mb,
        has_reference=True,
        has_cost=not auto,  # which says itself what it loses
        config=_config("export", (grid, options), model=model),
    )
    if build.rounds_rows(checkpoint):
        make_grid = evened(make_grid, progress)
    with plain_adapters(options, checkpoint, progress) as options:
        build = dataclasses.replace(build, options=options)
        with place_artifact(Path(out), checkpoint, build) as folder:
            if options.merge is None:
                parts = Parts(make_grid(checkpoint))
            elif not auto:
                parts = merge_all(checkpoint, options.merge, make_grid, options.accept_lossy_merge)
            else:
                read_factors(checkpoint, options.merge)  # what does not fit is told before the grid takes minutes
                settings = AutoMerge(limits, prompts, progress)
                parts = merge_auto(make_grid(checkpoint), options.merge, settings, build)
            manifest = fill_artifact(folder, parts, build)
    seconds = round(time.perf_counter() - started, 1)
    return ExportResult(Path(out), manifest, own_context_length(checkpoint), seconds)


def add_adapter(
    artifact: StrPath,
    name: str,
    folder: StrPath,
    *,
    probe: bool = True,
    store: str = FLOAT_STORE,
    labels: Sequence[str] | None = None,
    about: About | None = None,
    share: str | None = None,
) -> AdapterInfo:
    """Copy a PEFT folder into an artifact under ``name``; what does not fit is refused and changes nothing.

    An adapter that is no plain LoRA is converted first, where that loses nothing.

    ``probe`` replays a probe of its receipt on the artifact first. ``store`` float16 or int8 rounds its factors: less
    to read for each token where the operators of edgelora-ops are, and the same numbers everywhere. ``labels`` name the
    rows of a classifier's head where its folder does not. ``about`` introduces it to people, before the ``about.json``
    of its folder. ``share`` a or b stores that side of its factors once for all adapters that have the same.
    """
    from edgelora.artifact.about import NOTHING, read_about
    from edgelora.artifact.convert_adapters import plain_for
    from edgelora.artifact.store import add_adapter

    about = (about or NOTHING).before(read_about(Path(folder)))
    with plain_for(Path(artifact), Path(folder)) as plain:
        return add_adapter(Path(artifact), name, plain.path, probe, store, labels, about, share)


def merge_adapters(
    parents: Sequence[tuple[StrPath, float]],
    out: StrPath,
    options: MergeOptions = MergeOptions(),
    *,
    fit: FitOptions | None = None,
    progress: Progress = SILENT,
) -> MergeResult:
    """Merge PEFT folders, each with its weight, into a new one at ``out``, as PEFT's ``add_weighted_adapter`` does.

    A negative weight takes a task away. Its receipt names the parents; those that have one must be of one base, grid,
    tokenizer and template. ``fit`` finds weights layer by layer on a few rows, the given ones being the first.
    """
    from edgelora.adapter.merge_folders import Weighed, check_free, merge_folders, read_sources

    place = Path(out)
    check_outside(place)
    weighed = [Weighed(Path(folder), float(weight)) for folder, weight in parents]
    if fit is None:
        return merge_folders(weighed, place, options)
    check_fit(options)
    check_free(place)
    sources = read_sources(weighed)
    first = sources[0]
    choice = known_choice(first.receipt, first.folder) if fit.quant is None else GridChoice(fit.quant)
    grid = grid_maker(choice, progress)(open_base(os.fspath(fit.base)))
    from edgelora.training.fit_weights import fit_weights

    found = fit_weights(grid, sources, [item.weight for item in weighed], fit, progress)
    fitted = [
        dataclasses.replace(item, own=own, layers=layers)
        for item, own, layers in zip(weighed, found.modules, found.layers, strict=True)
    ]
    return merge_folders(fitted, place, options, found.record())


def diff_adapters(a: StrPath, b: StrPath) -> Difference:
    """Compare two PEFT folders: sizes and directions of what they add, heads, configurations, bases."""
    from edgelora.adapter.difference import find_difference
    from edgelora.adapter.lineage import read_source

    return find_difference(read_source(Path(a)), read_source(Path(b)))


def interference(
    where: StrPath, a: str, b: str, asked: Asked = Asked(), *, quant: str | None = None, progress: Progress = SILENT
) -> Interference:
    """Measure how far a blend of two adapters is from each of them, on the prompts of each.

    ``where`` is an artifact, whose graph is asked, or a base model, which PyTorch asks on the grid of ``quant`` or of
    A's receipt. ``a`` and ``b`` are adapters of the artifact or folders, as ``A`` or ``A:0.5``.
    """
    from edgelora.adapter.lineage import split_weight
    from edgelora.evaluation.ask_adapters import ask_artifact, ask_model

    if (Path(where) / MANIFEST_FILE).is_file():
        if quant is not None:
            raise ConfigError("--quant is for a base model, and an artifact has its grid; leave it out")
        return ask_artifact(Path(where), a, b, asked)
    folder, _ = split_weight(a)
    choice = known_choice(read_receipt(folder), folder) if quant is None else GridChoice(quant)
    return ask_model(open_base(os.fspath(where)), grid_maker(choice, progress), a, b, asked)


def verify(artifact: StrPath, *, threads: int | None = None) -> VerifyReport:
    """Check an artifact: hashes, the graph against PyTorch's answers, and that adapters act and leave no trace."""
    from edgelora.artifact.verify import verify_artifact

    return verify_artifact(Path(artifact), threads=threads)


def _plan(options: TrainOptions, model: StrPath, data: Path, out: Path, config: Mapping[str, Any]) -> RunPlan:
    """Where a run reads and writes, and when it looks up."""
    from edgelora.training.run import RunPlan

    return RunPlan(
        data=data,
        out=out,
        eval_data=options.eval_data,
        eval_every=options.eval_every,
        save_every=options.save_every,
        patience=options.patience,
        report_to=options.report_to,
        resume=options.resume,
        overwrite=options.overwrite,
        low_memory=options.low_memory,
        start_from=options.start_from,
        hub_repository=hub_repository(os.fspath(model)),
        config=config,
    )


def _config(command: str, groups: Sequence[Any], **arguments: StrPath) -> Mapping[str, Any]:
    """What ``--config`` reads to repeat a run; whether it may replace its output is said each time."""
    given = {COMMAND_KEY: command, **{name: os.fspath(value) for name, value in arguments.items()}}
    for group in groups:
        given |= record_options(group)
    return {name: value for name, value in given.items() if name not in _OF_OUT}


def _grid_of(grid: GridChoice, options: ExportOptions) -> GridChoice:
    """The grid of an export, without what belongs to the merge or the cache; raises ConfigError for what cannot be."""
    auto = options.merge_policy == "auto"
    grid_mb = None if auto else grid.budget_mb
    if options.merge is not None and not auto and is_grid_file(grid.quant):
        raise ConfigError(
            f"--quant {grid.quant} holds the codes of the base, which --merge changes; give the label that the "
            "merged weights are rounded with, such as int4"
        )
    choice = dataclasses.replace(grid, budget_mb=grid_mb)
    reads_rows = auto or options.kv_cache == INT8_CACHE  # whatever the grid does with them
    if reads_rows and not uses_calibration(choice):
        choice = dataclasses.replace(choice, calibration=None)
    return choice


def _check_bits_ship(options: ExportOptions, checkpoint: Checkpoint) -> None:
    """Raise ConfigError where linears do not ship in the bits that a budget gives them."""
    op = options.profile.op(checkpoint.task.generates)
    if op == MATMUL_INTEGER or (op != MATMUL_NBITS and options.level > 0):
        what = "" if checkpoint.task.generates else f" of {checkpoint.task.name}"
        raise ConfigError(
            f"--target {options.target} stores every linear in 8 bits (or floats){what} whatever bits its grid has, so "
            "no budget of the grid can be kept; leave out --budget-mb and --budget-bits, or choose another target"
        )


def options_beside(grid: Path) -> Path:
    """Where the options of a grid file are."""
    return grid.with_suffix(".options.json")


def _check_grid_file(path: Path, overwrite: bool) -> None:
    """Raise ConfigError when ``path`` holds anything but a grid file that may be replaced, with its options."""
    beside = options_beside(path)
    if os.path.lexists(beside) and not is_options_of(beside, "quantize"):
        raise ConfigError(f"{beside} is not of `edgelora quantize`, which writes its options there; move it away")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; choose a file name, such as {path.name}.safetensors")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists; choose another name, or replace it with --overwrite")
    if path.exists():
        check_is_grid(path)
    check_outside(path)
    check_writable(path)
