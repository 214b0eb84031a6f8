"""A classifier as optimum exports it: int8, dynamic, for the processor at hand.

Hugging Face folder -> what labels texts
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.machine import cpu_flags
from edgelora_runtime.groups import plan_calls

OPTIMUM = "optimum's int8"
_MOST_TOKENS = 512  # of a batch: it is quicker here by none of 128, 256 and 2,048


def save_classifier(model: Path, folder: Path, n_labels: int) -> Path:
    """The encoder with a random head, which costs what any other does."""
    if not (folder / "config.json").is_file():
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_pretrained(model, num_labels=n_labels).save_pretrained(folder)
        AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


def prepare_optimum(classifier: Path, folder: Path) -> None:
    """Export and quantize as optimum's documentation has it: dynamic, a scale for each channel, for this processor.

    Weights with a sign are for processors with VNNI; elsewhere their products overflow, silently.
    """
    if (folder / "model_quantized.onnx").is_file():
        return
    from optimum.exporters.onnx import main_export
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    exported = folder.with_name(f"{folder.name}-float")
    main_export(str(classifier), exported, task="text-classification", do_validation=False)
    kinds = AutoQuantizationConfig
    kind = kinds.avx512_vnni if "avx512_vnni" in cpu_flags() else kinds.avx2
    chosen = kind(is_static=False, per_channel=True)
    ORTQuantizer.from_pretrained(exported).quantize(save_dir=folder, quantization_config=chosen)


def open_optimum(folder: Path, threads: int, length: int) -> Callable[[Sequence[str]], object]:
    """Label texts: the same tokens in batches of the size that is best for it, straight through onnxruntime."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / "model_quantized.onnx", options, providers=["CPUExecutionProvider"])
    wanted = {item.name for item in session.get_inputs()}

    def classify(texts: Sequence[str]) -> list[int]:
        rows = [found.ids for found in tokenizer.encode_batch(list(texts))]
        best = [0] * len(rows)
        for call in plan_calls([len(row) for row in rows], ["none"] * len(rows), _MOST_TOKENS, shares_adapter=False):
            ids = np.zeros((len(call), max(len(rows[index]) for index in call)), np.int64)
            mask = np.zeros_like(ids)
            for place, index in enumerate(call):
                ids[place, : len(rows[index])] = rows[index]
                mask[place, : len(rows[index])] = 1
            fed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            (logits,) = session.run(None, {name: value for name, value in fed.items() if name in wanted})
            for place, index in enumerate(call):
                best[index] = int(logits[place].argmax())
        return best

    return classify
