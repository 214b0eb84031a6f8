"""Which linears of a layer read the same input: they are packed into one, get their bits together, and may share an A.

Knows nothing about graphs, grids or adapters.
"""

from __future__ import annotations

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
