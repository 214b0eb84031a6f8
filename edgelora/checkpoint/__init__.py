"""From a folder, a hub id or a GGUF file to a checkpoint: one spelling, every tensor used once.

Knows nothing about grids, graphs or training.
"""
