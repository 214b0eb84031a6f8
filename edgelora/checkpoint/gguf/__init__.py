"""GGUF files as checkpoints with Hugging Face names.

GGUF file -> GgufCheckpoint
"""
