"""Adapters at rest: what their factors tell, the receipt beside them, and the same adapter with fewer ranks.

Adapter, Grid -> Receipt, Spectrum, Survival, smaller Adapter

Reading and packing the factors is the runtime's work.
"""
