"""From a checkpoint and a choice to a grid: the exact values that a device multiplies with.

Checkpoint, GridSpec -> Grid
"""
