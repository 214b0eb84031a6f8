"""Adapters that are no plain LoRA but can become it, one file a kind; ``read.py`` finds out which one a folder is.

folder of PEFT or mlx-lm, Places -> Plain
"""
