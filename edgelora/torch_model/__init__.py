"""From a checkpoint and a grid to a torch model, and what it answers.

Knows nothing about artifacts; with ``edgelora.training`` the only package that imports torch.
"""
