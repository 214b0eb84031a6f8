"""Frontends: each calls one graph-building library and returns a decoder graph without weights.

Checkpoint -> DecoderGraph

Nothing outside this folder knows which library built a graph.
"""
