"""The share of each class among the unlabeled rows: estimated, kept near the first estimate, turned into counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

MAX_DRIFT = 0.5  # how far estimated shares may move, in standard errors of the shares of random labels; tuned on tables


def estimate_shares(labeled: Ints, predicted: Ints, n_classes: int) -> Floats:
    """Share of each class among the unlabeled rows, by their predicted classes and those of the labeled rows.

    The shares among all N rows are those of labels and predictions together, pulled to the labels' shares by n_classes
    more rows: (N * shares + n_classes * labels' shares) / (N + n_classes). What the labeled rows leave of them falls to
    the unlabeled rows. This equals the same pull on the predictions' shares, so none is negative, and none is 0 for a
    class with a label.

    The number of rows that pull grows neither with N nor with the number of labels: where the labels were drawn evenly
    from classes of different size, each such row may force an unlabeled row into a wrong class.
    """
    n_rows = len(labeled) + len(predicted)
    by_label, by_prediction = (np.bincount(rows, minlength=n_classes) / len(rows) for rows in (labeled, predicted))
    return (n_rows * by_prediction + n_classes * by_label) / (n_rows + n_classes)


def limit_drift(first: Floats, wanted: Floats, n_labeled: int) -> Floats:
    """Shares on the way from ``first`` to ``wanted``, each within MAX_DRIFT standard errors of ``first``."""
    step = wanted - first
    limit = MAX_DRIFT * np.sqrt(first * (1 - first) / n_labeled)
    return first + step * min(1.0, (limit / np.maximum(np.abs(step), np.finfo(float).tiny)).min())


def apportion(shares: Floats, n: int) -> Ints:
    """Whole numbers that sum to n, each within 1 of ``n * shares``: the largest remainders are rounded up."""
    # Rounded first, so that equal shares have equal remainders.
    exact = np.round(n * shares, 9)
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return counts
