"""Makes the folder that transformers.js loads: the same base, exported by optimum and quantized by its own recipe.

Knows nothing about browsers. The recipe is that of the quantization script of transformers.js ("q8"): onnxruntime's
dynamic quantization of every operator that has one, one scale for each tensor, signed weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantizationMode, QuantType
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.registry import IntegerOpsRegistry
from optimum.exporters.onnx import main_export

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora.values import Checkpoint
from edgelora_runtime.files import replace_folder


def make_model(gguf: str, folder: Path) -> Path:
    """``folder`` with config, tokenizer and ``onnx/model_quantized.onnx``; kept when it is there already."""
    if (folder / "onnx" / "model_quantized.onnx").exists():
        return folder
    checkpoint = open_checkpoint(gguf)
    with replace_folder(folder, contextlib.nullcontext) as fresh:
        _write_checkpoint(checkpoint, fresh / "torch")
        main_export(
            str(fresh / "torch"),
            output=fresh,
            task="text-generation-with-past",
            library_name="transformers",
            do_validation=False,
        )
        _quantize(fresh / "model.onnx", fresh / "onnx" / "model_quantized.onnx")
        shutil.rmtree(fresh / "torch")
        for path in fresh.glob("model.onnx*"):
            path.unlink()
    return folder


def _write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """A Hugging Face folder with the float32 values of the base."""
    model = load_torch(checkpoint, plan_grid(checkpoint, parse_quant("none")))
    model.save_pretrained(folder)
    files = checkpoint.tokenizer
    assert files is not None
    (folder / "tokenizer.json").write_text(files.tokenizer_json, encoding="utf-8")
    special = {key: value for key, value in dataclasses.asdict(files).items() if key.endswith("_token")}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": files.chat_template, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _quantize(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    quantizer = ONNXQuantizer(
        onnx.load(source),
        per_channel=False,
        reduce_range=False,
        mode=QuantizationMode.IntegerOps,
        static=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=None,
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=list(IntegerOpsRegistry),
        extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True},
    )
    quantizer.quantize_model()
    onnx.save(quantizer.model.model, target)
