"""How much of a VAE's training step is matrix products: rows per second of the step over those of its products alone.

784-600-600-50, batch 1000. The products are those of forward and backward, with the layers' shapes, through the same
backend (torch), in float32 and under bfloat16.
"""

from __future__ import annotations

import numpy as np
import torch
from _table import Row, in_turn, record

from skdgm import VAE

BATCH, N_ROWS, N_EPOCHS = 1000, 10_000, 2
ENCODER, DECODER = [(784, 600), (600, 600), (600, 100)], [(50, 600), (600, 600), (600, 784)]


def products(precision: str) -> None:
    """The products of as many steps as the fit takes: x W^T, and the gradients of W and (but for the data) of x."""
    dtype = getattr(torch, precision)
    layers = [(torch.randn(BATCH, a), torch.randn(b, a), torch.randn(BATCH, b)) for a, b in ENCODER + DECODER]
    cast = [tuple(tensor.to(dtype) for tensor in layer) for layer in layers]
    for _ in range(N_EPOCHS * N_ROWS // BATCH):
        for place, (x, weight, gradient) in enumerate(cast):
            x @ weight.T
            gradient.T @ x
            if place:
                gradient @ weight


def main() -> None:
    """Time both in both precisions."""
    X = (np.random.default_rng(0).random((N_ROWS, 784)) < 0.2).astype(np.float32)
    rows = []
    for precision, goal in [("float32", "≥ 0.55×"), ("bfloat16", "≥ 0.40×")]:
        vae = VAE(
            50,
            hidden_layer_sizes=(600, 600),
            batch_size=BATCH,
            max_iter=N_EPOCHS,
            precision=precision,
            likelihood="bernoulli",
            random_state=0,
        )
        median = in_turn({"step": lambda: vae.fit(X), "products": lambda: products(precision)}, 9)  # noqa: B023
        rate = {name: N_EPOCHS * N_ROWS / time for name, time in median.items()}
        slow = precision == "bfloat16" and not torch.cpu._is_avx512_bf16_supported()
        row = Row(
            f"VAE training step, 784-600-600-50, batch {BATCH}, {precision}",
            "its matrix products alone",
            f"{rate['step']:,.0f} rows/s",
            f"{rate['products']:,.0f} rows/s",
            rate["step"] / rate["products"],
            goal,
            note="this processor has no bfloat16 units; `precision='auto'` takes float32 here" if slow else "",
        )
        rows.append(row)
    record(__file__, rows)


if __name__ == "__main__":
    main()
