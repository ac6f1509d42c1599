"""From which size on a step is faster in bfloat16: 40,000 rows times units for ``precision="auto"``, 20,000 in an RBM.

A VAE, and an RBM, are trained on random rows of 784 columns in both precisions in turn, for several numbers of rows per
step and of units in the hidden layer. The ratio is that of processor time, float32 over bfloat16, so that above 1
bfloat16 is faster; the best of several fits counts. Where the processor has no bfloat16 units, it is far below 1, and
``precision="auto"`` takes float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _table import Row, record

from skdgm import VAE, StackedAutoencoder
from skdgm.estimators._options import MIN_BFLOAT16, MIN_BFLOAT16_RBM

SIZES = [(50, 100), (100, 100), (100, 200), (100, 400), (100, 500), (200, 200), (200, 500), (500, 500)]
SIZES_RBM = [(100, 50), (100, 100), (100, 200), (100, 256), (200, 200), (500, 500)]
N_STEPS, N_FITS, N_COLUMNS = 20, 5, 784
PRECISIONS = ("float32", "bfloat16")


def vae(rows: int, units: int, precision: str) -> VAE:
    """A VAE that is trained for one epoch."""
    options = {"likelihood": "bernoulli", "max_iter": 1, "early_stopping": False, "random_state": 0}
    return VAE(20, hidden_layer_sizes=(units,), batch_size=rows, precision=precision, **options)


def rbm(rows: int, units: int, precision: str) -> StackedAutoencoder:
    """An RBM that is trained for one epoch, with one annealing step, since log Z is not needed."""
    options = {"likelihood": "bernoulli", "rbm_max_iter": 1, "early_stopping": False, "random_state": 0}
    options |= {"n_bound_samples": 1, "n_annealing_steps": 1, "n_annealing_chains": 2}
    return StackedAutoencoder(units, batch_size=rows, precision=precision, **options)


def seconds(make: Callable[[int, int, str], VAE | StackedAutoencoder], rows: int, units: int, precision: str) -> float:
    """Processor time of a fit."""
    X = np.random.default_rng(0).random((rows * N_STEPS, N_COLUMNS), dtype=np.float32)
    model = make(rows, units, precision)
    start = time.process_time()
    model.fit(X)
    return time.process_time() - start


def compared(name: str, make: Callable[..., Any], break_even: int, rows: int, units: int) -> Row:
    """Time both in turn, as a row of the table."""
    fits = {precision: partial(seconds, make, rows, units, precision) for precision in PRECISIONS}
    times = [{precision: fit() for precision, fit in fits.items()} for _ in range(1 + N_FITS)][1:]
    best = {precision: min(taken[precision] for taken in times) for precision in PRECISIONS}
    work = f"{name} with {units} units, {rows} rows per step ({rows * units:,})"
    sides = [f"{1e3 * best[precision] / N_STEPS:.2f} ms" for precision in ("bfloat16", "float32")]
    goal = "≥ 1×" if rows * units >= break_even else ""
    return Row(work, "the same in float32", *sides, best["float32"] / best["bfloat16"], goal)


if __name__ == "__main__":
    of_vae = [compared("A VAE", vae, MIN_BFLOAT16, *size) for size in SIZES]
    record(__file__, of_vae + [compared("An RBM", rbm, MIN_BFLOAT16_RBM, *size) for size in SIZES_RBM])
