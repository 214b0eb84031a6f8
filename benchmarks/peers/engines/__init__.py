"""One module for each engine, run with the interpreter of that engine's environment.

Knows nothing about the others; all that they share is ``benchmarks.peers.turns``, which needs the standard library
alone.
"""
