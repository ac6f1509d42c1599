"""Shares of the classes among the unlabeled rows: estimate them, limit their changes, and turn them into counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

MAX_DRIFT = 0.5  # how far estimated shares may move, in standard errors of the shares of random labels; tuned on tables


def estimate_shares(labeled: Ints, predicted: Ints, n_classes: int) -> Floats:
    """Estimate the share of each class among the unlabeled rows, from their predicted classes and the labels.

    The shares among all N rows are those of labels and predictions together, shrunk toward the labels' shares by
    n_classes pseudo-rows: (N * shares + n_classes * labels' shares) / (N + n_classes). Subtracting the labeled rows
    leaves the shares of the unlabeled rows. This equals the same shrinkage of the predictions' shares, so no share is
    negative, and none is 0 for a class with a label.

    The number of pseudo-rows grows neither with N nor with the number of labels: if the labels were drawn evenly from
    classes of different size, each pseudo-row may force an unlabeled row into a wrong class.
    """
    n_rows = len(labeled) + len(predicted)
    by_label, by_prediction = (np.bincount(rows, minlength=n_classes) / len(rows) for rows in (labeled, predicted))
    return (n_rows * by_prediction + n_classes * by_label) / (n_rows + n_classes)


def limit_drift(first: Floats, wanted: Floats, n_labeled: int) -> Floats:
    """Move shares from ``first`` toward ``wanted``, each by at most MAX_DRIFT standard errors of ``first``."""
    step = wanted - first
    limit = MAX_DRIFT * np.sqrt(first * (1 - first) / n_labeled)
    return first + step * min(1.0, (limit / np.maximum(np.abs(step), np.finfo(float).tiny)).min())


def apportion(shares: Floats, n: int) -> Ints:
    """Whole numbers that sum to n, each within 1 of ``n * shares``: the largest remainders are rounded up."""
    # Rounding first gives equal shares equal remainders.
    exact = np.round(n * shares, 9)
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return counts
