"""Benchmark of a training step against its matrix products alone: ratio of rows per second.

The models are a VAE of 784-600-600-50 with batches of 1000, in float32 and in bfloat16, and an M2 of 784-500-50 with
200 unlabeled rows per step and the full sum over ten classes. The products are those of the forward and backward
passes, with the shapes of the layers, in the same backend (torch).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from _table import Row, in_turn, record

from skdgm import VAE, M2Classifier
from skdgm.estimators._options import multiplies_bfloat16

BATCH, N_ROWS, N_EPOCHS = 1000, 10_000, 2
ENCODER, DECODER = [(784, 600), (600, 600), (600, 100)], [(50, 600), (600, 600), (600, 784)]
M2_BATCH, CLASSES = 200, 10
M2_LAYERS = [(784, 500, 1), (784, 500, 1), (500, 100, CLASSES), (50, 500, CLASSES), (500, 784, CLASSES)]


def products(layers: list[tuple[int, int, int]], first: int, batch: int, precision: str) -> None:
    """Compute the products of all steps of the fit: x W^T, and the gradients of W and of x (unless x is data).

    A layer is (columns, units, uses per row); the ``first`` ones read the data.
    """
    dtype = getattr(torch, precision)
    tensors = [
        tuple(torch.randn(shape).to(dtype) for shape in ((n * batch, a), (b, a), (n * batch, b))) for a, b, n in layers
    ]
    for _ in range(N_EPOCHS * N_ROWS // batch):
        for level, (x, weight, gradient) in enumerate(tensors):
            x @ weight.T
            gradient.T @ x
            if level >= first:
                gradient @ weight


def share(work: str, fit: Callable[[], object], alone: Callable[[], None], goal: str, remark: str = "") -> Row:
    """Time both in turn, as a row of the table."""
    median = in_turn({"step": fit, "products": alone}, 5)
    rate = {name: N_EPOCHS * N_ROWS / time for name, time in median.items()}
    figures = [f"{rate[name]:,.0f} rows/s" for name in ("step", "products")]
    return Row(work, "its matrix products alone", *figures, rate["step"] / rate["products"], goal, remark)


def main() -> None:
    """Time all three."""
    X = (np.random.default_rng(0).random((N_ROWS, 784)) < 0.2).astype(np.float32)
    y = np.full(N_ROWS, -1)
    y[:100] = np.arange(100) % CLASSES
    common = {"max_iter": N_EPOCHS, "likelihood": "bernoulli", "early_stopping": False, "random_state": 0}
    rows = []
    for precision, goal in [("float32", "≥ 0.55×"), ("bfloat16", "≥ 0.40×")]:
        vae = VAE(50, hidden_layer_sizes=(600, 600), batch_size=BATCH, precision=precision, **common)
        layers = [(a, b, 1) for a, b in ENCODER + DECODER]
        alone = partial(products, layers, 1, BATCH, precision)
        slow = precision == "bfloat16" and not multiplies_bfloat16("cpu")
        remark = "this processor has no bfloat16 units; `precision='auto'` uses float32 here" if slow else ""
        work = f"VAE training step, 784-600-600-50, batch {BATCH}, {precision}"
        rows.append(share(work, partial(vae.fit, X), alone, goal, remark))
    m2 = M2Classifier(50, hidden_layer_sizes=(500,), batch_size=M2_BATCH, precision="float32", alpha=1e-3, **common)
    work = f"M2 training step, 784-500-50, full label sum, {M2_BATCH} + 100 rows, float32"
    alone = partial(products, M2_LAYERS, 2, M2_BATCH, "float32")
    rows.append(
        share(
            work,
            partial(m2.fit, X, y),
            alone,
            "≥ 0.55×",
            "has the VAE's goal; only the products of the unlabeled rows are counted",
        )
    )
    record(__file__, rows)


if __name__ == "__main__":
    main()
