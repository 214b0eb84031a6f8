"""Runs EdgeLoRA artifacts on onnxruntime and swaps their adapters while they run.

an artifact's folder -> Model -> Generation, or EncoderModel -> Classification, Tagging, vectors

Importing it loads numpy and onnxruntime alone.
"""

from edgelora_runtime.encoder_model import EncoderModel
from edgelora_runtime.errors import AdapterError, ArtifactError, EdgeLoraError, InputError
from edgelora_runtime.generation import Generation, TextStream, Timings, Usage
from edgelora_runtime.model import Model, load
from edgelora_runtime.scores import Classification
from edgelora_runtime.spans import Span, Tagging
from edgelora_runtime.tool_calls import ToolCall

__all__ = [
    "AdapterError",
    "ArtifactError",
    "Classification",
    "EdgeLoraError",
    "EncoderModel",
    "Generation",
    "InputError",
    "Model",
    "Span",
    "Tagging",
    "TextStream",
    "Timings",
    "ToolCall",
    "Usage",
    "load",
]
