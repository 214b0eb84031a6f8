"""From a checkpoint and a grid to a torch model, and what it answers.

Checkpoint, Grid -> torch model, Reference, Calibration, Probe

With ``edgelora.training`` the only package that imports torch.
"""
