"""From a ``--quant`` choice to a grid: a label or a grid file, a method, a budget, and the text that calibrates them.

Checkpoint, GridChoice -> ChosenGrid
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edgelora.checkpoint.context_length import own_context_length
from edgelora.checkpoint.names import is_vocabulary
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.encode import encode_rows
from edgelora.data.encode_labelled import encode_texts
from edgelora.data.labelled import read_any_texts
from edgelora.data.rows import Rows, read_rows
from edgelora.data.varied_text import calibration_ids
from edgelora.errors import ArtifactError, ConfigError, DataError
from edgelora.grid.bits import BitPlan, Budget, MeasureChange, plan_bits
from edgelora.grid.file import read_grid
from edgelora.grid.make import (
    CALIBRATED,
    EMBEDDING_BITS,
    QUANT_LABELS,
    Grid,
    GridSpec,
    MakeGrid,
    choose_spec,
    parse_quant,
    plan_grid,
)
from edgelora.grid.moments import Calibration
from edgelora.grid.row_codes import column_factors
from edgelora.grid.spread import spread_bits
from edgelora.option import Option, read_text, record_options
from edgelora.progress import SILENT, Progress
from edgelora.values import Checkpoint
from edgelora_runtime.manifest import IMAGE_CLASSIFICATION

GRID_SUFFIX = ".safetensors"
_SEQUENCES = 128
_MAX_TOKENS = 2048  # longer rows are left out


BlockSize = Annotated[
    int | None,
    Option("Weights that share one scale: 16, 32, 64, 128 or 256.  [default: 32; int4 alone: 16 for the vocabulary]"),
]
Symmetric = Annotated[
    bool | None,
    Option(
        "Zero in the middle of the codes, or a zero point for each block.  [default: int8 symmetric, else not]",
        names=("--symmetric/--asymmetric",),
    ),
]


@dataclass(frozen=True)
class GridChoice:
    """What a user asked for; two commands with equal choices get equal grids.

    A grid file as ``quant`` decides all the rest, which is None then.
    """

    quant: Annotated[
        str,
        Option(
            f"{', '.join(QUANT_LABELS)}, or a grid file of `edgelora quantize`, which decides all that follows.",
            metavar="LABEL|GRID",
        ),
    ] = "int4"
    block_size: BlockSize = None
    symmetric: Symmetric = None
    method: Annotated[
        str | None,
        Option(
            "How codes are chosen. rtn: nearest on a range that holds every weight. ranges: nearest on the range of "
            "least error, weighed by how large each input is on built-in text. gptq: columns make up for each other's "
            "errors; loses least, takes minutes.  [default: ranges for int4, else rtn]  Where neither this nor "
            "--block-size, --symmetric or --embedding-bits is given, int4 widens what rounding hurts most, at equal "
            "bytes.",
            names=("--quant-method",),
            metavar="METHOD",
        ),
    ] = None
    calibration: Annotated[
        Path | None,
        Option(
            "Rows on which gptq and the budgets measure which weights matter; without them gptq reads built-in text.",
            metavar="DATA",
        ),
    ] = None
    budget_mb: Annotated[
        float | None,
        Option("Mixed precision: widen the most sensitive linears above --quant up to so many MB of weights."),
    ] = None
    budget_bits: Annotated[
        float | None, Option("The same, up to so many bits for a weight of the decoder's linears, scales counted.")
    ] = None
    embedding_bits: Annotated[
        int | None,
        Option(
            "4 or 8 bits for the embedding and the head.  [default: 4 with int4 alone, 8 where another option of the "
            "grid is given; else as --quant says, at least 4]"
        ),
    ] = None

    def __post_init__(self) -> None:
        read_text(self)

    @property
    def budget(self) -> Budget | None:
        """The limit for mixed precision; raises ConfigError when there are two."""
        if self.budget_mb is None and self.budget_bits is None:
            return None
        return Budget(self.budget_mb, self.budget_bits)


def is_spread(choice: GridChoice) -> bool:
    """True for int4 with nothing else said: each tensor gets bits and blocks of its own (``spread_bits``)."""
    said = (choice.block_size, choice.symmetric, choice.method, choice.embedding_bits)
    return choice.quant == "int4" and choice.budget is None and all(option is None for option in said)


def settle(choice: GridChoice) -> GridChoice:
    """``choice`` with all that was left open filled in; what every command does, so that their grids are the same.

    int4 takes what loses least of a base at next to the bytes of the plain grid (docs/quantization.md), the same for
    every tensor once one of the options is given. Under a budget every linear starts from the plain one, which the
    budget then widens.
    """
    is_best = choice.quant == "int4" and choice.budget_mb is None and choice.budget_bits is None
    return dataclasses.replace(
        choice,
        block_size=32 if choice.block_size is None else choice.block_size,
        symmetric=False if is_best and choice.symmetric is None else choice.symmetric,
        method=choice.method or ("ranges" if is_best else "rtn"),
        embedding_bits=8 if is_best and choice.embedding_bits is None else choice.embedding_bits,
    )


@dataclass(frozen=True)
class ChosenGrid:
    """A grid, and how the budget was spent where there was one."""

    grid: Grid
    bits: BitPlan | None


def is_grid_file(quant: str) -> bool:
    """True for a ``--quant`` value that names a file rather than one of QUANT_LABELS."""
    return quant not in QUANT_LABELS and (quant.endswith(GRID_SUFFIX) or Path(quant).is_file())


def uses_calibration(choice: GridChoice) -> bool:
    """True where data rows would change the grid; ranges are weighed on built-in text alone, the same for everyone."""
    return not is_grid_file(choice.quant) and (choice.method == "gptq" or choice.budget is not None)


def calibrated_on(choice: GridChoice, data: Path) -> GridChoice:
    """``choice`` with ``data`` to spend its budget by, where it names none.

    gptq stays on built-in text then, as in an export: what trains must meet the grid that ships.
    """
    if choice.calibration is not None or choice.budget is None or is_grid_file(choice.quant):
        return choice
    return dataclasses.replace(choice, calibration=data)


def grid_maker(choice: GridChoice, progress: Progress = SILENT) -> MakeGrid:
    """What makes the grid of ``choice`` for any checkpoint, a merged one included.

    Raises at once what can be told without a checkpoint: ConfigError when the choice contradicts itself, DataError
    when ``calibration`` is missing or has no usable row, ArtifactError when the grid file is missing.
    """
    check_choice(choice)

    def make_grid(checkpoint: Checkpoint) -> Grid:
        return choose_grid(checkpoint, choice, progress).grid

    return make_grid


def choose_grid(checkpoint: Checkpoint, choice: GridChoice, progress: Progress = SILENT) -> ChosenGrid:
    """Read or make the grid; raises what ``check_choice`` does, and ConfigError for a budget that cannot be met."""
    check_choice(choice)
    if checkpoint.task.name == IMAGE_CLASSIFICATION and choice.method is None:
        choice = dataclasses.replace(choice, method="rtn")  # there are no built-in images to weigh inputs on
    spread, choice = is_spread(choice), settle(choice)
    if is_grid_file(choice.quant):
        return ChosenGrid(read_grid(Path(choice.quant), checkpoint, progress), None)
    plan, budget = _parse(choice), choice.budget
    data, calibration = choice.calibration, None
    if plan.spec is not None and plan.method in CALIBRATED:
        calibration = _calibrate(checkpoint, plan.method, data, progress)
    if spread and calibration is not None:
        plan = spread_bits(checkpoint, plan, calibration, progress)
    else:
        plan = _widen_vocabulary(checkpoint, plan, choice.embedding_bits)
    if budget is None:
        return ChosenGrid(plan_grid(checkpoint, plan, progress, calibration), None)
    change = None if data is None else sensitivity_on(checkpoint, data)
    bits = plan_bits(checkpoint, plan, budget, choice.symmetric, calibration, change, progress)
    return ChosenGrid(plan_grid(checkpoint, bits.plan, progress, calibration), bits)


def check_choice(choice: GridChoice) -> None:
    """Raise what is wrong with a choice whatever the checkpoint; cheap enough to come before any work."""
    if is_grid_file(choice.quant):
        if extra := [f"--{name.replace('_', '-')}" for name in record_options(choice) if name != "quant"]:
            raise ConfigError(f"--quant {choice.quant} is a grid file and decides {', '.join(extra)}; leave that out")
        if not Path(choice.quant).is_file():
            raise ArtifactError(f"{choice.quant} is not a file; expected a grid file, as `edgelora quantize` writes")
        return
    choice = settle(choice)
    plan, budget = _parse(choice), choice.budget
    if plan.spec is None and budget is not None:
        raise ConfigError(f"{budget.option} chooses bits, but --quant {plan.label} keeps floats; give --quant int2")
    if choice.embedding_bits is not None and (plan.spec is None or choice.embedding_bits not in EMBEDDING_BITS):
        raise ConfigError(
            f"--embedding-bits is {choice.embedding_bits} with --quant {plan.label}; give "
            f"{' or '.join(map(str, EMBEDDING_BITS))}, and a --quant with integers"
        )
    if choice.embedding_bits is not None and choice.budget_mb is not None:
        raise ConfigError("--budget-mb decides the bits of the embedding too; leave --embedding-bits out")
    if choice.calibration is not None:
        if plan.spec is None or not uses_calibration(choice):
            raise ConfigError(
                "--calibration changes nothing here; it serves --quant-method gptq, --budget-mb and --budget-bits"
            )
        _check_texts(choice.calibration)


def read_sequences(checkpoint: Checkpoint, data: Path) -> Sequence[Sequence[int]]:
    """Token ids of up to 128 rows of ``data``, spread evenly over the file.

    Rows are rendered as training renders them, prompt and completion together, with the chat template where there is
    one, so that equal data gives equal grids whatever else a command was told. A task that reads texts once takes the
    texts of rows of any task. Raises DataError without usable rows.
    """
    if not checkpoint.task.generates:
        longest = min(_MAX_TOKENS, checkpoint.task.context_length)
        texts = encode_texts(read_any_texts(data), open_tokenizer(checkpoint), longest, str(data)).examples
        count = min(_SEQUENCES, len(texts))
        return [texts[index * len(texts) // count].ids for index in range(count)]
    found = read_rows(data)
    count = min(_SEQUENCES, len(found.rows))
    rows = tuple(found.rows[index * len(found.rows) // count] for index in range(count))
    encoded = encode_rows(
        Rows(rows, ()),
        open_tokenizer(checkpoint),
        checkpoint.eos_token_ids,
        _MAX_TOKENS,
        raw=False,
        where=str(data),
        context=own_context_length(checkpoint),
    )
    return [example.ids for example in encoded.examples]


def _check_texts(path: Path) -> None:
    """Raise DataError for a file that has rows for no task; which task it is for is known with the base."""
    try:
        read_rows(path)
    except DataError as error:
        try:
            read_any_texts(path)
        except DataError:
            raise error from None


def calibrate_on(checkpoint: Checkpoint, data: Path, progress: Progress = SILENT) -> Calibration:
    """Second moments of the linears' inputs on the sequences of ``data``, for gptq."""
    from edgelora.torch_model.moments import calibrate  # torch, which a grid without calibration never waits for

    return calibrate(checkpoint, read_sequences(checkpoint, data), progress)


def _calibrate(checkpoint: Checkpoint, method: str, data: Path | None, progress: Progress) -> Calibration:
    """What ``method`` reads: of ``data`` where it is given, else of the built-in text."""
    from edgelora.torch_model.moments import calibrate, weigh_inputs

    if checkpoint.task.name == IMAGE_CLASSIFICATION:
        raise ConfigError(
            f"--quant-method {method} reads what a model does with text, and {checkpoint.name} reads images; give "
            "--quant-method rtn"
        )
    if data is not None:
        return calibrate_on(checkpoint, data, progress)
    is_gptq = method == "gptq"
    return (calibrate if is_gptq else weigh_inputs)(checkpoint, _built_in_ids(checkpoint, short=not is_gptq), progress)


def evened(make_grid: MakeGrid, progress: Progress = SILENT) -> MakeGrid:
    """The same grids with ``column_factors``, from the sizes of a decoder's inputs on the built-in text."""
    from edgelora.torch_model.moments import weigh_inputs

    def make(checkpoint: Checkpoint) -> Grid:
        grid = make_grid(checkpoint)
        if not grid.matrices:
            return grid
        sizes = weigh_inputs(grid.checkpoint, _built_in_ids(grid.checkpoint, short=True), progress)
        return dataclasses.replace(grid, column_factors=column_factors(sizes.importance))

    return make


def _built_in_ids(checkpoint: Checkpoint, short: bool) -> Sequence[Sequence[int]]:
    tokenizer = None if checkpoint.tokenizer is None else open_tokenizer(checkpoint)
    config = checkpoint.config
    own = checkpoint.task.context_length or config.get("max_position_embeddings") or config.get("n_positions")
    return calibration_ids(tokenizer, int(config["vocab_size"]), int(own or _MAX_TOKENS), short=short)


def sensitivity_on(checkpoint: Checkpoint, data: Path) -> MeasureChange:
    """What rounding does to the float model's answers on the sequences of ``data``, for a budget."""
    from edgelora.torch_model.sensitivity import open_sensitivity  # torch again

    return open_sensitivity(checkpoint, read_sequences(checkpoint, data))


def _parse(choice: GridChoice) -> GridSpec:
    assert choice.block_size is not None  # settled
    return parse_quant(choice.quant, choice.block_size, choice.symmetric, choice.method or "rtn")


def _widen_vocabulary(checkpoint: Checkpoint, plan: GridSpec, bits: int | None) -> GridSpec:
    """``plan`` with so many bits for the embedding and a head of its own, where they are rounded at all."""
    if bits is None or plan.spec is None:
        return plan
    specs = {
        name: choose_spec(name, checkpoint.shape(name), plan) for name in checkpoint.names() if is_vocabulary(name)
    }
    wide = {
        name: dataclasses.replace(spec, bits=bits, symmetric=spec.symmetric or bits > spec.bits)
        for name, spec in specs.items()
        if spec is not None
    }
    return dataclasses.replace(plan, overrides={**plan.overrides, **wide})
