"""How fast this machine can read memory, and how many bytes a token needs: what no kernel can go below.

Knows nothing about engines. Reading is measured with numpy's dot product of an array with itself, one thread for each
part of it, over the size that a token reads and over one that no cache holds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.turns import CONTEXT
from edgelora.errors import ConfigError
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.manifest import Manifest, cache_bytes
from edgelora_runtime.packing import pack_adapter

LARGE_BYTES = 1 << 30  # beyond the last level of every cache at hand

_READ = """
import json, sys, threading, time
import numpy as np
n_bytes, threads = int(sys.argv[1]), int(sys.argv[2])
parts = [np.ones(n_bytes // 4 // threads, np.float32) for _ in range(threads)]
times = []
for _ in range(12):
    started = time.perf_counter()
    workers = [threading.Thread(target=lambda part=part: np.dot(part, part)) for part in parts]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    times.append(time.perf_counter() - started)
print(json.dumps(n_bytes / min(times[2:])))
"""


@dataclass(frozen=True)
class TokenBytes:
    """Bytes that one decoded token reads, after a prompt of CONTEXT tokens."""

    weights: int  # the whole weight file; the embedding is the head, too
    adapter: int  # slot inputs as they are bound
    cache: int  # keys and values

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.adapter + self.cache


def read_bandwidth(n_bytes: int, threads: int) -> float:
    """Bytes per second, the best of ten reads in a fresh process; raises ConfigError when that process fails."""
    # A library with threads of its own would read every part with all of them.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _READ, str(n_bytes), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise ConfigError(f"memory bandwidth cannot be measured: {done.stderr.strip().splitlines()[-1]}")
    return float(json.loads(done.stdout))


def token_bytes(manifest: Manifest, artifact: Path, adapter: str | None) -> TokenBytes:
    """What a token reads with ``adapter`` (a name), or with none."""
    packed = {}
    if adapter is not None:
        folder = artifact / next(info.path for info in manifest.adapters if info.name == adapter)
        packed = dict(pack_adapter(read_adapter(folder), manifest.slots))
    return TokenBytes(
        manifest.files[manifest.graph.weights].bytes,
        sum(array.nbytes for array in packed.values()),
        CONTEXT * cache_bytes(manifest),
    )


def least_ms(needed: TokenBytes, bandwidth: float) -> float:
    """The time below which reading alone keeps a token."""
    return 1e3 * needed.total / bandwidth


def limits(manifest: Manifest, artifact: Path, adapters: Mapping[str, str | None], threads: int) -> dict[str, object]:
    """Bandwidths, and for each label of ``adapters`` the bytes and the least time of a token."""
    needed = {label: token_bytes(manifest, artifact, adapter) for label, adapter in adapters.items()}
    small = read_bandwidth(max(item.total for item in needed.values()), threads)
    return {
        "read_gb_per_s": round(small / 1e9, 2),
        "read_1gib_gb_per_s": round(read_bandwidth(LARGE_BYTES, threads) / 1e9, 2),
        "tokens": {
            label: {
                "weights_mb": round(item.weights / 1e6, 2),
                "adapter_mb": round(item.adapter / 1e6, 2),
                "cache_mb": round(item.cache / 1e6, 2),
                "least_ms": round(least_ms(item, small), 3),
            }
            for label, item in needed.items()
        },
    }
