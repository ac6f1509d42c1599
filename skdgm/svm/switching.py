"""Labels of rows: as SVM targets, by the largest decision value, or at the lowest cost under given class shares.

The cheapest labels are found by switching the labels of pairs of rows, many pairs at once, which keeps the number of
rows in each class.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from skdgm.svm.hinge import hinge
from skdgm.svm.shares import apportion

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


def targets_of(labels: Ints, n_classes: int) -> Floats:
    """1 for a row's own class and -1 for the others, shape (n, n_classes); with two classes one column suffices."""
    wanted = np.arange(1 if n_classes == 2 else 0, n_classes)
    return np.where(labels[:, None] == wanted, np.float32(1), np.float32(-1))


def predicted_labels(decision: Floats) -> Ints:
    """Class index of each row by its decision values, shape (n, n_classes), or (n, 1) with two classes."""
    return (decision[:, 0] > 0).astype(np.int64) if decision.shape[1] == 1 else decision.argmax(1)


def cuts(decision: Floats, n_rows: Ints) -> Floats:
    """For each SVM, the value that as many rows exceed as its class has, ``n_rows`` of shape (n_classes,)."""
    ordered = np.sort(decision.astype(np.float64), axis=0)[::-1]
    ordered = np.concatenate([ordered[:1] + 1, ordered, ordered[-1:] - 1])
    above = n_rows[-decision.shape[1] :]  # the only SVM for two classes is that of the second
    columns = np.arange(decision.shape[1])
    return (ordered[above, columns] + ordered[above + 1, columns]) / 2


def labels_under_shares(decision: Floats, shares: Floats, width: float) -> Ints:
    """Class index of each row by its decision values, such that each class has its share of the rows."""
    labels = np.repeat(np.arange(len(shares)), apportion(shares, len(decision)))
    switch_labels(label_costs(decision, width), labels)
    return labels


def label_costs(decision: Floats, width: float) -> Floats:
    """Sum of a row's losses for each label it could have, up to a constant per row; shape (n, n_classes)."""
    values = decision.astype(np.float64)
    costs = hinge(values, width) - hinge(-values, width)
    return np.hstack([-costs, np.zeros_like(costs)]) if decision.shape[1] == 1 else costs


def switch_labels(costs: Floats, labels: Ints) -> int:
    """Switch the labels of pairs of rows while that lowers the sum of ``costs[i, labels[i]]``.

    Changes ``labels`` in place and keeps the number of rows with each label. With two classes, no other labels with
    these numbers of rows cost less.

    Returns
    -------
    int
        Number of rows whose label changed.
    """
    before = labels.copy()
    pairs = list(combinations(range(costs.shape[1]), 2))
    rounding = 1e-9 * max(1.0, np.abs(costs).max(initial=0.0))
    while sum(switch_pairs(costs, labels, a, b, rounding) for a, b in pairs):
        pass
    return int((labels != before).sum())


def switch_pairs(costs: Floats, labels: Ints, a: int, b: int, rounding: float) -> int:
    """Switch labels a and b between the rows that gain most; return how many pairs gained more than ``rounding``."""
    in_a, gain_a = rows_by_gain(costs, labels, a, b)
    in_b, gain_b = rows_by_gain(costs, labels, b, a)
    n = min(len(in_a), len(in_b))
    # Gains fall along both lists, and so do their sums: switch the first pairs.
    n_gaining = int((gain_a[:n] + gain_b[:n] > rounding).sum())
    labels[in_a[:n_gaining]] = b
    labels[in_b[:n_gaining]] = a
    return n_gaining


def rows_by_gain(costs: Floats, labels: Ints, source: int, target: int) -> tuple[Ints, Floats]:
    """Rows of class ``source`` and what each would gain in class ``target``, the largest gain first."""
    rows = np.flatnonzero(labels == source)
    gain = costs[rows, source] - costs[rows, target]
    order = np.argsort(-gain, kind="stable")
    return rows[order], gain[order]
