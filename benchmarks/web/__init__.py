"""The web target against transformers.js in one browser: ``python -m benchmarks.web``.

Knows nothing about native runtimes.
"""
