"""Benchmark of a training step against its matrix products alone: ratio of rows per second.

The models are a VAE of 784-600-600-50 with batches of 1000, in float32 and in bfloat16, and M2 of MNIST's size, with
200 unlabeled rows per step and the full sum over ten classes, and of the sizes of digits and iris, with the default
layers. The products are those of the forward and backward passes, with the shapes of the layers, in the same backend
(torch). If all else cost nothing, training were faster by the ratio's inverse: also what training several small models
in one set of tensors can gain at most.
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
COMMON = {"max_iter": N_EPOCHS, "likelihood": "bernoulli", "early_stopping": False, "random_state": 0}
M2_SIZES = {"MNIST": (784, 500, 50, 10), "digits": (64, 200, 10, 10), "iris": (4, 200, 10, 3)}
M2_BATCH, M2_LABELED = 200, 100
SMALL = (
    "a step consists of some hundred small operations, whose dispatch takes longer than the products; linear paths, "
    "class embeddings, and the labeled rows are not counted among these"
)


def m2_layers(columns: int, units: int, latent: int, classes: int) -> list[tuple[int, int, int]]:
    """The layers of M2: the classifier's and the encoder's first one read a row once, the others once per class."""
    encoder, decoder = [(units, 2 * latent, classes)], [(latent, units, classes), (units, columns, classes)]
    return [(columns, units, 1), (columns, units, 1), *encoder, *decoder]


def products(
    layers: list[tuple[int, int, int]], first: int, batch: int, precision: str, n_rows: int = N_EPOCHS * N_ROWS
) -> None:
    """Compute the products of all steps of a fit: x W^T, and the gradients of W and of x (unless x is data).

    A layer is (columns, units, uses per row); the ``first`` ones read the data.
    """
    dtype = getattr(torch, precision)
    tensors = [
        tuple(torch.randn(shape).to(dtype) for shape in ((n * batch, a), (b, a), (n * batch, b))) for a, b, n in layers
    ]
    for _ in range(n_rows // batch):
        for level, (x, weight, gradient) in enumerate(tensors):
            x @ weight.T
            gradient.T @ x
            if level >= first:
                gradient @ weight


def share(work: str, fit: Callable[[], object], alone: Callable[[], None], goal: str, remark: str, note: str) -> Row:
    """Time both in turn, as a row of the table."""
    median = in_turn({"step": fit, "products": alone}, 5)
    rate = {name: N_EPOCHS * N_ROWS / time for name, time in median.items()}
    figures = [f"{rate[name]:,.0f} rows/s" for name in ("step", "products")]
    return Row(work, "its matrix products alone", *figures, rate["step"] / rate["products"], goal, remark, note)


def of_vae(precision: str, goal: str) -> Row:
    """The VAE."""
    X = (np.random.default_rng(0).random((N_ROWS, 784)) < 0.2).astype(np.float32)
    vae = VAE(50, hidden_layer_sizes=(600, 600), batch_size=BATCH, precision=precision, **COMMON)
    alone = partial(products, [(a, b, 1) for a, b in ENCODER + DECODER], 1, BATCH, precision)
    slow = precision == "bfloat16" and not multiplies_bfloat16("cpu")
    remark = "this processor has no bfloat16 units; `precision='auto'` uses float32 here" if slow else ""
    work = f"VAE training step, 784-600-600-50, batch {BATCH}, {precision}"
    return share(work, partial(vae.fit, X), alone, goal, remark, "")


def of_m2(name: str, goal: str, note: str) -> Row:
    """M2 at the size of a data set."""
    columns, units, latent, classes = M2_SIZES[name]
    X = (np.random.default_rng(0).random((N_ROWS, columns)) < 0.2).astype(np.float32)
    y = np.full(N_ROWS, -1)
    y[:M2_LABELED] = np.arange(M2_LABELED) % classes
    m2 = M2Classifier(
        latent, hidden_layer_sizes=(units,), batch_size=M2_BATCH, precision="float32", alpha=1e-3, **COMMON
    )
    size = f"{columns}-{units}-{latent}, {classes} classes summed, {M2_BATCH} + {M2_LABELED} rows"
    work = f"M2 training step, {size}, float32"
    alone = partial(products, m2_layers(*M2_SIZES[name]), 2, M2_BATCH, "float32")
    return share(work, partial(m2.fit, X, y), alone, goal, "only the products of the unlabeled rows are counted", note)


def main() -> None:
    """Time all of them."""
    rows = [of_vae("float32", "≥ 0.55×"), of_vae("bfloat16", "≥ 0.40×")]
    record(__file__, rows + [of_m2(name, "≥ 0.67×", "" if name == "MNIST" else SMALL) for name in M2_SIZES])


if __name__ == "__main__":
    main()
