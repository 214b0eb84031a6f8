"""The ONNX output format: turns a checkpoint on its grid into ``decoder.onnx`` and ``weights.bin``.

Grid -> ExportedModel

``edgelora.artifact`` packages what this writes.
"""

from edgelora_onnx.exporter import OnnxExporter

__all__ = ["OnnxExporter"]
