"""Trains LoRA adapters on the values that ship; the only package that imports torch and peft.

Knows nothing about ONNX or artifacts: it reads a checkpoint and rows and writes a PEFT folder.
"""
