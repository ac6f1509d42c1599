"""Quality of models trained in bfloat16: test bounds and accuracies after the same number of epochs as in float32.

``precision="auto"`` uses bfloat16 if the device has units for it. Processors without such units emulate it slowly, with
the same number of bits, so any machine can measure the quality. Each figure is a mean over three seeds.
"""

from __future__ import annotations

import numpy as np
from _table import Row, record

from skdgm import VAE, M2Classifier
from skdgm.datasets import load_mnist, mask_labels

N_TRAIN, N_TEST, SEEDS = 5_000, 2_000, range(3)
COMMON = {"likelihood": "bernoulli", "learning_rate_init": 1e-3, "batch_size": 250, "early_stopping": False}


def vae_bounds(X: np.ndarray, X_test: np.ndarray, precision: str) -> np.ndarray:
    """Test bounds of a VAE, nats per row."""
    model = VAE(50, hidden_layer_sizes=(600, 600), precision=precision, max_iter=5, **COMMON)
    model.set_params(n_importance_samples=5)
    return np.array([model.set_params(random_state=seed).fit(X).elbo_samples(X_test).mean() for seed in SEEDS])


def m2_accuracies(X, y, X_test, y_test, precision: str) -> np.ndarray:
    """Test accuracies of an M2, percent."""
    model = M2Classifier(50, hidden_layer_sizes=(500,), precision=precision, max_iter=5, n_enumerated=1, **COMMON)
    return np.array([100 * model.set_params(random_state=seed).fit(X, y).score(X_test, y_test) for seed in SEEDS])


def row(work: str, by_precision: dict[str, np.ndarray], goal: str, unit: str) -> Row:
    """How much worse bfloat16 is, as a row of the table."""
    low, full = by_precision["bfloat16"], by_precision["float32"]
    ours, theirs = (f"{values.mean():.2f} ± {values.std(ddof=1):.2f} {unit}" for values in (low, full))
    return Row(work, "the same in float32", ours, theirs, float((full - low).mean()), goal)


def main() -> None:
    """Train both models in both precisions."""
    X, y = load_mnist(return_X_y=True)
    X = (X > 0.5).astype(np.float32)
    train, test = X[:N_TRAIN], X[-N_TEST:]
    few = mask_labels(y[:N_TRAIN], 500, random_state=0)
    precisions = ("float32", "bfloat16")
    bounds = {precision: vae_bounds(train, test, precision) for precision in precisions}
    accuracies = {precision: m2_accuracies(train, few, test, y[-N_TEST:], precision) for precision in precisions}
    record(
        __file__,
        [
            row("VAE 784-600-600-50 trained in bfloat16: test bound", bounds, "≤ 0.3 nats", "nats"),
            row("M2 784-500-50 trained in bfloat16: test accuracy", accuracies, "≤ 0.5 points", "%"),
        ],
    )


if __name__ == "__main__":
    main()
