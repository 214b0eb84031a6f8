"""Data preparation and the demonstration that ``make demo`` runs.

Knows nothing that a user of the command line could not know: everything goes through packages and ``edgelora``.
"""
