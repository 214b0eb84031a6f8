"""``edgelora train``: options in, a progress bar while it runs, a summary after it.

GridChoice, TrainOptions -> an adapter, lines or JSON
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelora.api import train as train_adapter
from edgelora.cli.bars import BARS
from edgelora.cli.flags import repeatable
from edgelora.cli.output import Json, emit
from edgelora.cli.training_lines import Model, Out, lines, payload
from edgelora.torch_model.choose_grid import GridChoice
from edgelora.training.options import TrainOptions


@repeatable
def train(
    model: Model,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help='JSON lines, a JSON list, CSV or Parquet: {"prompt", "completion"}, {"messages"}, '
            '{"text", "label"} or {"text"}, '
            'or as Alpaca {"instruction", "input", "output"} or ShareGPT {"conversations"} has them. '
            'For --task classification {"text", "label"} or {"text", "labels"}, for tagging {"tokens", "tags"} or a '
            'CoNLL file, for embedding {"anchor", "positive"} and perhaps "negative".',
        ),
    ],
    out: Out,
    grid: GridChoice = GridChoice("int4"),
    options: TrainOptions = TrainOptions(),
    as_json: Json = False,
) -> None:
    """Train a LoRA adapter on the values that an export will ship.

    The base is frozen and snapped to the grid of --quant first, so the adapter learns on what the device multiplies
    with; export with the same grid options, or give both one file of `edgelora quantize`. gptq and budgets calibrate
    on DATA itself unless --calibration names other rows. The loss covers completions alone, rendered with the model's
    chat template; of a conversation the last answer is learned. --from goes on from another adapter, one of
    `edgelora recover` for example. ADAPTER_DIR becomes a PEFT folder with a receipt.json that names
    the base and the grid, a model card (README.md), and a history.jsonl with a line for every step, which grows in
    .checkpoint as training goes.

    With --task classification or tagging a head is trained with the factors and travels with them; the temperature of
    its scores is fitted on --eval-data, else on a tenth of the rows, which is held back from training. Texts of more
    than --max-length tokens lose their end, as on the device. --task embedding learns to tell each text of a batch from
    the others, so a larger --batch-size teaches more.

    Example: edgelora train SmolLM2-135M.gguf rows.jsonl -o adapters/mine --epochs 2
    """
    result = train_adapter(model, data, out, options, grid=grid, progress=BARS)
    emit(as_json, payload(result), lines(result))
