"""Sample weights: validate them, leave out rows of weight 0, and scale the others.

Only ratios of weights count: the weights of the rows of each term of the objective have mean 1. Priors count rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import check_consistent_length

from skdgm._sklearn_compat import _safe_indexing, check_sample_weight
from skdgm.estimators._arrays import as_host_array
from skdgm.estimators._frames import as_table_or_stream, rows_at
from skdgm.estimators._shards import all_weights
from skdgm.estimators._streams import Table
from skdgm.sources import Source, WeightedSource

# Maximum number of rows for what is computed without weights, from rows drawn in proportion to their weights.
MAX_DRAWN = 5_000


class WeightedRows(NamedTuple):
    """The rows of positive weight.

    Attributes
    ----------
    X, y : as given
    weight : ndarray of float64 of shape (n_samples,) or None
        None if no weights were given. Weights are those of the rows of all processes.
    kept : ndarray of int of shape (n_samples,) or None
        Their indices among all rows; None if these are all rows.
    """

    X: Any
    y: Any
    weight: np.ndarray | None
    kept: np.ndarray | None

    @property
    def relative(self) -> np.ndarray | None:
        """The weights, scaled to mean 1; None if they are equal, which is the same as without weights."""
        return relative(self.weight)


def weighted_rows(X: Any, y: Any, sample_weight: Any, owner: str) -> WeightedRows:
    """Validate weights, and leave out rows of weight 0: nothing is learned from them."""
    if sample_weight is None:
        return WeightedRows(X, y, all_weights(None), None)
    X, y = as_table_or_stream(as_host_array(X), owner), as_host_array(y)
    weight = check_sample_weight(as_host_array(sample_weight), X)
    if weight.all():
        return WeightedRows(X, y, all_weights(weight), None)
    check_consistent_length(X, y)
    kept = np.flatnonzero(weight)
    return WeightedRows(
        rows_at(X, kept), None if y is None else _safe_indexing(y, kept), all_weights(weight[kept]), kept
    )


def relative(weight: np.ndarray | None, rows: Any = slice(None)) -> np.ndarray | None:
    """The weights of some rows, scaled to mean 1; None if they are equal."""
    chosen = None if weight is None else weight[rows]
    if chosen is None or not len(chosen) or (chosen == chosen[0]).all():
        return None
    return chosen / chosen.mean()


def total(weight: np.ndarray | None, rows: np.ndarray) -> float:
    """Sum of the weights of some rows; without weights, their number."""
    return float(len(rows) if weight is None else weight[rows].sum())


def with_weights(source: Source, weight: np.ndarray | None, device: str) -> Source:
    """Weigh the rows of a source, if weights are given."""
    return source if weight is None else WeightedSource(source, torch.from_numpy(weight.astype(np.float32)).to(device))


def drawn_by_weight(rows: Table, weight: np.ndarray | None, random: np.random.RandomState) -> Table:
    """Rows among which each is as frequent as its weight; without weights, all rows. Nothing of a stream is read."""
    if weight is None:
        return rows
    n_rows = min(len(rows), MAX_DRAWN)
    share = np.cumsum(weight) / weight.sum()
    return rows[np.searchsorted(share, (np.arange(n_rows) + random.uniform()) / n_rows).clip(max=len(rows) - 1)]


def by_class_index(class_weight: Any, classes: np.ndarray) -> Any:
    """A dict of weights by label as one by class index; anything else unchanged. Labels of no class come last."""
    if not isinstance(class_weight, dict):
        return class_weight
    labels = dict.fromkeys([*classes.tolist(), *class_weight])
    return {index: class_weight.get(label, 1) for index, label in enumerate(labels)}


def training_weights(
    targets: np.ndarray, classes: np.ndarray, class_weight: Any, sample_weight: np.ndarray | None
) -> np.ndarray | None:
    """Multiply the weights of the labeled rows by ``class_weight``; only their ratios among labeled rows count."""
    if class_weight is None or not (targets >= 0).any():
        return sample_weight
    weight = np.ones(len(targets)) if sample_weight is None else sample_weight.copy()
    labeled = targets >= 0
    of_labels, by_class = targets[labeled], np.ones(len(classes))
    chosen = np.arange(len(classes)) if isinstance(class_weight, dict) else np.unique(of_labels)
    by_class[chosen] = compute_class_weight(
        class_weight, classes=classes[chosen], y=classes[of_labels], sample_weight=weight[labeled]
    )
    weighted = weight[labeled] * by_class[of_labels]
    if not (np.isfinite(weighted).all() and (by_class >= 0).all() and weighted.sum() > 0):
        raise ValueError(
            f"class_weight must hold positive numbers, or 0 for some classes, got {class_weight!r} for the classes "
            f"{classes.tolist()}."
        )
    weight[labeled] = weighted
    return weight
