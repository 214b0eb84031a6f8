"""``edgelora recover``: options in, a progress bar while it runs, a summary after it.

GridChoice, RecoverOptions -> an adapter, lines or JSON
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelora.api import recover as recover_adapter
from edgelora.cli.bars import BARS
from edgelora.cli.flags import repeatable
from edgelora.cli.output import Json, emit
from edgelora.cli.training_lines import Model, Out, lines, payload
from edgelora.torch_model.choose_grid import GridChoice
from edgelora.training.options import RecoverOptions


@repeatable
def recover(
    model: Model,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Plain text (.txt), or the rows that `edgelora train` reads."),
    ],
    out: Out,
    grid: GridChoice = GridChoice("int2"),
    options: RecoverOptions = RecoverOptions(),
    as_json: Json = False,
) -> None:
    """Train an adapter that gives back what a coarse grid took from the base.

    The float model answers every token of DATA, and the adapter learns to answer like it on the quantized base: the
    loss is the KL divergence between the two, in nats per token. Any text in the language of the tasks to come serves.
    ADAPTER_DIR becomes an adapter like any other; start those for single tasks from it with `edgelora train --from`.
    Both models are in memory at once, and of every batch the logits of both. Of an encoder (--task) the adapter matches
    what stands behind the layers, so it serves any head; the loss is the share that is off.

    Example: edgelora recover SmolLM2-135M.gguf text.txt -o adapters/recovered --quant int2 --max-steps 500
    """
    result = recover_adapter(model, data, out, options, grid=grid, progress=BARS)
    emit(as_json, payload(result), lines(result, result.measure))
