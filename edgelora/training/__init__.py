"""Trains LoRA adapters on the values that ship.

Checkpoint, rows, Recipe -> TrainResult, a PEFT folder

With ``edgelora.torch_model`` the only package that imports torch, and alone in importing peft.
"""
