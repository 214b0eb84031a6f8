"""GGUF files as checkpoints with Hugging Face names.

Knows nothing about Hugging Face folders.
"""
