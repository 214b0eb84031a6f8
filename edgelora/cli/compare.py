"""``edgelora compare``: options in, bars while it runs, the table after it.

Knows nothing about what is compared, or how.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelora.artifact.exporter import find_exporter
from edgelora.cli.bars import BARS
from edgelora.cli.flags import spread
from edgelora.cli.output import Json, emit, table
from edgelora.cli.thread_options import Threads
from edgelora.cli.training_lines import Model
from edgelora.compare.arms import Settings
from edgelora.compare.report import METRIC_NAMES, PLOT_FILE
from edgelora.compare.run import JSON_FILE, MARKDOWN_FILE, Compared
from edgelora.compare.run import compare as run_comparison
from edgelora.errors import ConfigError
from edgelora.torch_model.choose_grid import BlockSize, Symmetric
from edgelora.torch_model.open_base import open_base
from edgelora.training.options import BatchSize, Epochs, LearningRate, MaxSteps
from edgelora.training.recipe import Recipe

_NO_METHOD = "none"


@spread
def compare(
    model: Model,
    data: Annotated[Path, typer.Argument(metavar="DATA.jsonl", help="Rows to learn from, as for `edgelora train`.")],
    eval_data: Annotated[Path, typer.Option(help="Held-out rows that score every arm; nothing is chosen by them.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="REPORT", help="Folder of the report, of adapters and of scores."),
    ],
    quant: Annotated[str, typer.Option(help="int8, int4 or int2: the grid of all quantized arms.")] = "int4",
    block_size: BlockSize = None,
    symmetric: Symmetric = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="A better grid beside --quant, with adapters trained on it: gptq, or none.  [default: gptq]"),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=GRID", help="A grid file of `edgelora quantize` to compare as well; may be repeated."
        ),
    ] = None,
    start_from: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="NAME=ADAPTER_DIR",
            help="The adapters of that --grid start from one that `edgelora recover` made on it; may be repeated.",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="N,N,...", help="One adapter for each, on each grid.")] = "0,1,2",
    rank: Annotated[int, typer.Option(help="Width of the adapters; alpha is twice that.")] = 8,
    max_steps: MaxSteps = None,
    epochs: Epochs = 1,
    batch_size: BatchSize = 8,
    learning_rate: LearningRate = 1e-3,
    max_length: Annotated[int, typer.Option(help="Tokens; longer rows are not learned from.")] = 512,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Answer the first N rows alone; the loss is still that of all.")
    ] = None,
    threads: Threads = None,
    decode: Annotated[bool, typer.Option("--decode/--no-decode", help="Measure the time of a token.")] = True,
    json: Json = False,
) -> None:
    """Train, export and score the ways to ship one fine-tuned model, and write one report.

    Base; LoRA on the float base; that LoRA merged and then quantized, and beside the quantized base; LoRA trained on
    the quantized values, and on those of better grids. What REPORT/adapters and REPORT/scores hold is used where it
    was made with the same options, so a stopped comparison goes on where it was.

    Example: edgelora compare SmolLM2-135M.gguf rows.jsonl --eval-data heldout.jsonl -o report --max-steps 120
    """
    settings = Settings(
        model=model,
        data=data,
        eval_data=eval_data,
        options=Recipe(
            rank=rank,
            alpha=2.0 * max(rank, 1),
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            max_length=max_length,
        ),
        seeds=_read_seeds(seeds),
        quant=quant,
        block_size=32 if block_size is None else block_size,
        symmetric=symmetric,
        methods=("gptq",) if method is None else () if method == [_NO_METHOD] else tuple(method),
        grid_files=tuple(_read_grid_file(text) for text in grid or ()),
        starts=tuple(_read_start(text) for text in start_from or ()),
        limit=limit,
        threads=threads,
        decode=decode,
    )
    found = run_comparison(open_base(model), settings, output, find_exporter(), BARS)
    files = {"json": JSON_FILE, "markdown": MARKDOWN_FILE, "plot": PLOT_FILE}
    payload = {
        "report": str(output),
        "files": {kind: str(output / name) for kind, name in files.items()},
        "trained": list(found.trained),
        "metric": found.summary.metric,
        "arms": [
            {key: arm[key] for key in ("name", "loss", "loss_over_float", "figures", "bytes", "decode_ms")}
            for arm in found.report["arms"]
        ],
    }
    emit(json, payload, [*_table(found), f"wrote {', '.join(str(output / name) for name in files.values())}"])


def _table(found: Compared) -> list[str]:
    metric = found.summary.metric
    rows = [("arm", "loss", "over float", METRIC_NAMES[metric] if metric else "", "MB", "decode ms")]
    for row in found.summary.arms:
        apart, times = row.loss_over_float, row.decode_ms
        rows.append(
            (
                row.arm.name,
                f"{row.loss.median:.4f}",
                "" if apart is None else f"{apart.median:+.4f}",
                f"{100 * row.figures[metric].median:.1f} %" if metric else "",
                f"{row.bytes / 1e6:.1f}",
                "" if times is None else f"{times.median:.2f}",
            )
        )
    return table(rows)


def _read_grid_file(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise ConfigError(f"--grid is {text!r}, expected NAME=GRID.safetensors")
    if not Path(path).is_file():
        raise ConfigError(f"--grid {name}: {path} is not a file; expected a grid file, as `edgelora quantize` writes")
    return name, Path(path)


def _read_start(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise ConfigError(f"--from is {text!r}, expected NAME=ADAPTER_DIR, where NAME is that of a --grid")
    return name, Path(path)


def _read_seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--seeds is {text!r}, expected whole numbers with commas between, such as 0,1,2") from error
