"""The ONNX output format: turns a checkpoint on its grid into ``decoder.onnx`` and ``weights.bin``.

Knows nothing about manifests, tokenizers or adapters' files; ``edgelora.artifact`` packages what this writes.
"""

from edgelora_onnx.exporter import OnnxExporter

__all__ = ["OnnxExporter"]
