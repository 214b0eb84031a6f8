"""Adapters at rest: the receipt beside the factors, and adapters coming into and out of an artifact.

Knows nothing about training or graphs; reading and packing the factors is the runtime's work.
"""
