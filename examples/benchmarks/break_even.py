"""From which size on a step is faster in bfloat16: what ``precision="auto"`` takes to be 40,000 rows times units.

A VAE is trained on random rows of 784 columns in both precisions in turn, for several numbers of rows per step and of
units in its hidden layer. The ratio is that of processor time, float32 over bfloat16, so that above 1 bfloat16 is
faster; the best of several fits counts. Where the processor has no bfloat16 units, it is far below 1, and
``precision="auto"`` takes float32.
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from _table import Row, record

from skdgm import VAE
from skdgm.estimators._options import MIN_BFLOAT16

SIZES = [(50, 100), (100, 100), (100, 200), (100, 400), (100, 500), (200, 200), (200, 500), (500, 500)]
N_STEPS, N_FITS, N_COLUMNS = 20, 5, 784
PRECISIONS = ("float32", "bfloat16")


def seconds(rows: int, units: int, precision: str) -> float:
    """Processor time of a fit."""
    X = np.random.default_rng(0).random((rows * N_STEPS, N_COLUMNS), dtype=np.float32)
    options = {"likelihood": "bernoulli", "max_iter": 1, "early_stopping": False, "random_state": 0}
    model = VAE(20, hidden_layer_sizes=(units,), batch_size=rows, precision=precision, **options)
    start = time.process_time()
    model.fit(X)
    return time.process_time() - start


def compared(rows: int, units: int) -> Row:
    """Time both in turn, as a row of the table."""
    fits = {precision: partial(seconds, rows, units, precision) for precision in PRECISIONS}
    times = [{precision: fit() for precision, fit in fits.items()} for _ in range(1 + N_FITS)][1:]
    best = {precision: min(taken[precision] for taken in times) for precision in PRECISIONS}
    work = f"A VAE with {units} units, {rows} rows per step ({rows * units:,})"
    sides = [f"{1e3 * best[precision] / N_STEPS:.2f} ms" for precision in ("bfloat16", "float32")]
    goal = "≥ 1×" if rows * units >= MIN_BFLOAT16 else ""
    return Row(work, "the same in float32", *sides, best["float32"] / best["bfloat16"], goal)


if __name__ == "__main__":
    record(__file__, [compared(*size) for size in SIZES])
