"""The project and its peers, measured in turns in one run: ``python -m benchmarks.peers``.

Knows nothing about peers beyond what their own interfaces offer; each runs in an environment and a process of its own.
"""
