"""Code that all classifiers share: read labels, and score labeled rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_consistent_length

from skdgm._labels import encode_labels, labels_of
from skdgm._sklearn_compat import _check_feature_names, validate_data
from skdgm.estimators._arrays import as_host_array
from skdgm.estimators._frames import as_table_or_stream
from skdgm.estimators._shards import all_classes, all_targets, gathered, is_sharded
from skdgm.estimators._streams import header_of

FLOATS = [np.float64, np.float32]


def read_labeled(classifier: Any, X: Any, y: Any, dtype: Any = FLOATS) -> tuple[np.ndarray, np.ndarray]:
    """Validate X and y for ``fit`` and set ``classes_``; return rows and class indices, -1 for unlabeled rows."""
    check_y_given(classifier, y)
    rows = validate_data(classifier, as_host_array(X), reset=True, dtype=dtype)
    return gathered(rows), encoded_labels(classifier, rows, y)


def read_labels(classifier: Any, X: Any, y: Any) -> tuple[Any, np.ndarray]:
    """Validate the shape and the column names of X, and y, and set ``classes_``; return X and class indices.

    X becomes an array unless it is a frame or a stream; it holds the rows of this process. The class indices are those
    of the rows of all processes, -1 for unlabeled rows.
    """
    check_y_given(classifier, y)
    table = as_table_or_stream(as_host_array(X), type(classifier).__name__)
    if getattr(classifier, "_is_warm_start", False):
        _check_feature_names(classifier, header_of(table), reset=False)
    validate_data(classifier, header_of(table), skip_check_array=True)
    return table, encoded_labels(classifier, table, y)


def encoded_labels(classifier: Any, rows: Any, y: Any) -> np.ndarray:
    """Set ``classes_``; return the class indices of the rows of all processes, -1 for unlabeled rows."""
    labels, marker, owner = as_host_array(y), classifier.unlabeled_value, type(classifier).__name__
    classes, targets = encode_labels(labels, marker, owner=owner, require_labeled=not is_sharded())
    check_consistent_length(rows, targets)
    every = all_classes(classes)
    if not len(every):
        encode_labels(labels, marker, owner=owner)  # raises its error
    classifier.classes_, _ = encode_labels(every, None, owner=owner) if is_sharded() else (classes, None)
    return all_targets(classes, targets, classifier.classes_)


def read_part(classifier: Any, X: Any, y: Any, classes: Any, *, is_first: bool) -> tuple[Any, np.ndarray]:
    """Validate a part of the rows as ``read_labels`` does, and the classes, which the first part sets."""
    check_y_given(classifier, y)
    table = as_table_or_stream(as_host_array(X), type(classifier).__name__)
    validate_data(classifier, header_of(table), reset=is_first, skip_check_array=True)
    labeled, labels = labels_of(as_host_array(y), classifier.unlabeled_value)
    check_consistent_length(table, labeled)
    learn_classes(classifier, classes, is_first=is_first)
    targets = np.full(len(labeled), -1)
    targets[labeled] = indices_of(labels, classifier.classes_)
    return table, targets


def learn_classes(classifier: Any, classes: Any, *, is_first: bool) -> None:
    """Set ``classes_`` in the first call of ``partial_fit``; in later ones, check that they are the same."""
    if classes is None:
        if is_first:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return
    found, _ = encode_labels(classes, classifier.unlabeled_value, owner=type(classifier).__name__)
    if is_first:
        classifier.classes_ = found
    elif not np.array_equal(found, classifier.classes_):
        raise ValueError(
            f"classes={classes!r} is not the same as on last call to partial_fit or fit, was: "
            f"{classifier.classes_.tolist()}. Leave classes out of later calls; other classes need a new fit."
        )


def indices_of(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the indices of labels among the classes."""
    index = {label: i for i, label in enumerate(classes.tolist())}
    unknown = [label for label in labels.tolist() if label not in index]
    if unknown:
        raise ValueError(f"y has {unknown[0]!r}, which is not among the classes {classes.tolist()}.")
    return np.array([index[label] for label in labels.tolist()], dtype=np.int64)


def check_y_given(classifier: Any, y: Any) -> None:
    """Raise scikit-learn's error if y is None."""
    if y is None:
        raise ValueError(
            f"{type(classifier).__name__} requires y to be passed, but the target y is None. Mark unlabeled rows by "
            f"{classifier.unlabeled_value!r}."
        )


def score_labeled(classifier: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Compute the accuracy of a classifier over the labeled rows."""
    check_consistent_length(X, y, sample_weight)
    labeled, labels = labels_of(as_host_array(y), classifier.unlabeled_value)
    if not labeled.any():
        raise ValueError(
            f"{type(classifier).__name__}.score: y has no labeled row to score. "
            "Cross-validate with skdgm.model_selection.LabeledStratifiedKFold: its test folds hold labeled rows only."
        )
    predicted = np.asarray(as_host_array(classifier.predict(X)))[labeled]
    weight = None if sample_weight is None else np.asarray(sample_weight)[labeled]
    return float(accuracy_score(labels, predicted, sample_weight=weight))
