"""Runs EdgeLoRA artifacts on onnxruntime and swaps their adapters while they run.

an artifact's folder -> Model -> Generation

Importing it loads numpy and onnxruntime alone.
"""

from edgelora_runtime.errors import AdapterError, ArtifactError, EdgeLoraError, InputError
from edgelora_runtime.model import Generation, Model, load

__all__ = ["AdapterError", "ArtifactError", "EdgeLoraError", "Generation", "InputError", "Model", "load"]
