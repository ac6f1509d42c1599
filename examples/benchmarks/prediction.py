"""Benchmark of prediction, a million rows: M2Classifier.predict_proba, VAE.transform, MLPClassifier.predict_proba.

Both sides have the same layers: 784-500-10 for the classifiers, and 784-500-100 for the VAE (mean and log-variance of
50 dimensions) against an MLPClassifier with 100 outputs. Ours have a linear path beside them, and M2Classifier with its
default, alpha="auto", also the kernel features of 200 labeled rows. The rows are float32. Each side's matrix products
are timed by themselves in the same run: ours by PyTorch, in chunks of 512 rows, and scikit-learn's by NumPy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from _table import Row, in_turn, record
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from skdgm import VAE, M2Classifier

N_ROWS = 1_000_000
CHUNK = 512  # rows of a prediction


def products(X: np.ndarray, n_out: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """The matrix products of our layers and of scikit-learn's, by themselves."""
    V, W, S = (torch.rand(shape) for shape in ((784, 500), (500, n_out), (784, n_out)))

    def ours() -> None:
        for start in range(0, N_ROWS, CHUNK):
            x = torch.from_numpy(X[start : start + CHUNK])
            x @ V @ W, x @ S

    def theirs() -> None:
        X @ V.numpy() @ W.numpy()

    return ours, theirs


def fitted_mlp(X: np.ndarray, n_classes: int) -> MLPClassifier:
    """An MLPClassifier of the wanted shape; what it has learned does not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MLPClassifier((500,), max_iter=1, random_state=0).fit(X, np.arange(len(X)) % n_classes)


def main() -> None:
    """Time both pairs."""
    X = np.random.default_rng(0).random((N_ROWS, 784), dtype=np.float32).round()
    few = X[:2000]
    common = {"hidden_layer_sizes": (500,), "max_iter": 1, "likelihood": "bernoulli", "random_state": 0}
    y = np.arange(2000) % 10
    m2 = M2Classifier(50, alpha=0.1, **common).fit(few, y)
    pairs = [
        ("`M2Classifier.predict_proba`, 1 M rows, 784-500-10", m2.predict_proba, 10),
        ("the same with default `alpha`", M2Classifier(50, **common).fit(few, y).predict_proba, 10),
        ("`VAE.transform`, 1 M rows, 784-500-100", VAE(50, **common).fit(few).transform, 100),
    ]
    record(__file__, [compared(work, predict, fitted_mlp(few, n_out), X, n_out) for work, predict, n_out in pairs])


def compared(work: str, predict: Callable[..., object], mlp: MLPClassifier, X: np.ndarray, n_out: int) -> Row:
    """Time both and their products in turn."""
    ours, theirs = products(X, n_out)
    sides = {
        "ours": lambda: predict(X),
        "theirs": lambda: mlp.predict_proba(X),
        "products": ours,
        "its products": theirs,
    }
    median = in_turn(sides, 3)
    note = (
        f"our products by themselves take {median['products']:.1f} s (without those of kernel features), the linear "
        f"path's included, and scikit-learn's {median['its products']:.1f} s"
    )
    figures = (f"{median[side]:.1f} s" for side in ("ours", "theirs"))
    return Row(work, "`MLPClassifier.predict_proba`", *figures, median["theirs"] / median["ours"], "≥ 1×", note=note)


if __name__ == "__main__":
    main()
