"""``edgelora compare``: options in, bars while it runs, the table after it.

options -> Compared as lines or JSON
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelora.artifact.exporter import find_exporter
from edgelora.checkpoint.task import find_task_word
from edgelora.cli.bars import BARS
from edgelora.cli.flags import spread
from edgelora.cli.output import Json, emit, table
from edgelora.cli.thread_options import Threads
from edgelora.cli.training_lines import Model
from edgelora.compare.options import CompareOptions
from edgelora.compare.report import METRIC_NAMES, PLOT_FILE
from edgelora.compare.run import JSON_FILE, MARKDOWN_FILE, Compared
from edgelora.compare.run import compare as run_comparison
from edgelora.torch_model.open_base import open_base


@spread
def compare(
    model: Model,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Rows to learn from, as for `edgelora train`.")],
    eval_data: Annotated[Path, typer.Option(help="Held-out rows that score every arm; nothing is chosen by them.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="REPORT", help="Folder of the report, of adapters and of scores."),
    ],
    options: CompareOptions = CompareOptions(),
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train, export and score the ways to ship one fine-tuned model, and write one report.

    Base; LoRA on the float base; that LoRA merged and then quantized, and beside the quantized base; LoRA trained on
    the quantized values, and on those of better grids. What REPORT/adapters and REPORT/scores hold is used where it
    was made with the same options, so a stopped comparison goes on where it was.

    Example: edgelora compare SmolLM2-135M.gguf rows.jsonl --eval-data heldout.jsonl -o report --max-steps 120
    """
    settings = options.settings(model, data, eval_data, threads)
    found = run_comparison(open_base(model, find_task_word(options.task)), settings, output, find_exporter(), BARS)
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
