"""Damaged and hostile inputs for every reader: ``python -m tests.fuzz --count 20000 --seed 0``."""
