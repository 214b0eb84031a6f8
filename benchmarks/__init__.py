"""Benchmarks of the project on a real model, written to a table with ratios.

Knows nothing about single machines: figures are compared inside one run alone.
"""
