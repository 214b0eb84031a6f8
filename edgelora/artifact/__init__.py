"""From a grid and adapters to an artifact, and all that is done to one that is finished.

Knows nothing about torch or ONNX: both are asked through what they offer.
"""
