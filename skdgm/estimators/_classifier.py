"""Code that all classifiers share: read labels, score labeled rows, and weigh rows by class."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import check_consistent_length

from skdgm._labels import encode_labels, labels_of
from skdgm._sklearn_compat import validate_data
from skdgm.estimators._arrays import as_host_array
from skdgm.estimators._frames import as_table_or_stream
from skdgm.estimators._streams import header_of

FLOATS = [np.float64, np.float32]


def read_labeled(classifier: Any, X: Any, y: Any, dtype: Any = FLOATS) -> tuple[np.ndarray, np.ndarray]:
    """Validate X and y for ``fit`` and set ``classes_``; return rows and class indices, -1 for unlabeled rows."""
    check_y_given(classifier, y)
    rows = validate_data(classifier, as_host_array(X), reset=True, dtype=dtype)
    owner = type(classifier).__name__
    classifier.classes_, targets = encode_labels(as_host_array(y), classifier.unlabeled_value, owner=owner)
    check_consistent_length(rows, targets)
    return rows, targets


def read_labels(classifier: Any, X: Any, y: Any) -> tuple[Any, np.ndarray]:
    """Validate the shape and the column names of X, and y, and set ``classes_``; return X and class indices.

    X becomes an array unless it is a frame or a stream. The indices of unlabeled rows are -1.
    """
    check_y_given(classifier, y)
    owner = type(classifier).__name__
    table = as_table_or_stream(as_host_array(X), owner)
    validate_data(classifier, header_of(table), skip_check_array=True)
    classifier.classes_, targets = encode_labels(as_host_array(y), classifier.unlabeled_value, owner=owner)
    check_consistent_length(table, targets)
    return table, targets


def check_y_given(classifier: Any, y: Any) -> None:
    """Raise scikit-learn's error if y is None."""
    if y is None:
        raise ValueError(
            f"{type(classifier).__name__} requires y to be passed, but the target y is None. Mark unlabeled rows by "
            f"{classifier.unlabeled_value!r}."
        )


def score_labeled(classifier: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Compute the accuracy of a classifier over the labeled rows."""
    check_consistent_length(X, y)
    labeled, labels = labels_of(as_host_array(y), classifier.unlabeled_value)
    if not labeled.any():
        raise ValueError(
            f"{type(classifier).__name__}.score: y has no labeled row to score. "
            "Cross-validate with skdgm.model_selection.LabeledStratifiedKFold: its test folds hold labeled rows only."
        )
    predicted = np.asarray(as_host_array(classifier.predict(X)))[labeled]
    weight = None if sample_weight is None else np.asarray(sample_weight)[labeled]
    return float(accuracy_score(labels, predicted, sample_weight=weight))


def row_weights(targets: np.ndarray, classes: np.ndarray, class_weight: Any) -> np.ndarray:
    """Weigh rows by ``class_weight``, with mean 1 over the labeled rows; unlabeled rows have weight 1."""
    labeled = targets[targets >= 0]
    present, counts = np.unique(labeled, return_counts=True)
    by_class = np.ones(len(classes))  # for a class without labels
    by_class[present] = compute_class_weight(class_weight, classes=classes[present], y=classes[labeled])
    mean = np.average(by_class[present], weights=counts)
    return np.where(targets >= 0, by_class[targets] / mean, 1.0).astype(np.float32)
