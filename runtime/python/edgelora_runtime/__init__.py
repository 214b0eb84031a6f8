"""Run EdgeLoRA artifacts on onnxruntime and swap their adapters while they run.

Knows nothing about training or compiling; importing it loads numpy and onnxruntime alone.
"""

from edgelora_runtime.errors import AdapterError, ArtifactError, EdgeLoraError, InputError
from edgelora_runtime.model import Generation, Model, load

__all__ = ["AdapterError", "ArtifactError", "EdgeLoraError", "Generation", "InputError", "Model", "load"]
