"""The compiler: merge, export, package and verify.

Knows nothing about training or about how a graph is spelled.
"""
