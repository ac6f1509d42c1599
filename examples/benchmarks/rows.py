"""Benchmark of M2 by number of rows: seconds per row for 10,000 and 1,000,000 rows of a memmap.

The rows are either copied to memory, the default for a million rows of 784 float32 columns, or read from disk in
blocks, the default for larger arrays.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from _table import Row, in_turn, record

from skdgm import VAE
from skdgm.estimators import _streams

FEW, MANY = 10_000, 1_000_000
BLOCK = 50_000


def memmap(folder: str, n_rows: int) -> np.ndarray:
    """Binary rows on disk, read-only."""
    path = Path(folder) / f"{n_rows}.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, 784))
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, BLOCK):
        part = X[start : start + BLOCK]
        part[:] = rng.random(part.shape, dtype=np.float32).round()
    del X
    return np.load(path, mmap_mode="r")


def model(n_rows: int) -> VAE:
    """784-500-50. Equal numbers of row visits would take hours: one epoch of the many rows, ten of the few."""
    epochs = 1 if n_rows == MANY else 10
    common = {"hidden_layer_sizes": (500,), "batch_size": 500, "likelihood": "bernoulli", "early_stopping": False}
    return VAE(50, max_iter=epochs, random_state=0, **common)


def main() -> None:
    """Time both ways of reading."""
    rows, limit = [], _streams.RESIDENT_BYTES
    with tempfile.TemporaryDirectory() as folder:
        few, many = memmap(folder, FEW), memmap(folder, MANY)
        for way, resident in [("copied to memory", limit), ("read in blocks", 0)]:
            _streams.RESIDENT_BYTES = resident
            model(FEW).fit(few)
            median = in_turn({"few": lambda: model(FEW).fit(few), "many": lambda: model(MANY).fit(many)}, 1)
            per_row = {"few": 1e6 * median["few"] / (10 * FEW), "many": 1e6 * median["many"] / MANY}
            row = Row(
                f"VAE 784-500-50, time per row: 1 M rows of a memmap, {way}",
                "10 k rows",
                f"{per_row['many']:.1f} µs",
                f"{per_row['few']:.1f} µs",
                per_row["many"] / per_row["few"],
                "≤ 1.2×",
            )
            rows.append(row)
    record(__file__, rows)


if __name__ == "__main__":
    main()
