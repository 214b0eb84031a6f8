"""From a checkpoint and a choice to a grid: the exact values that a device multiplies with.

Knows nothing about torch, graphs or adapters.
"""
