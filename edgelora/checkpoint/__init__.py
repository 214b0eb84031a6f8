"""From a folder, a hub id or a GGUF file to a checkpoint: one spelling, every tensor used once.

folder, hub id or GGUF file -> Checkpoint
"""
