"""From a checkpoint and an adapter to the parts of an artifact without slots, whole or layer by layer.

Grid, PEFT folder, Limits -> Parts
"""
