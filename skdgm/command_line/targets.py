"""The labels of ``label``: whether they can be learned, and how well a model predicts them."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from skdgm.command_line.messages import CommandError, counted, listed, note
from skdgm.command_line.rows import Scan
from skdgm.model_selection import LabeledStratifiedKFold, cross_val_predict_labeled

MAX_FOLDS = 5
# More different labels than the first, if they are more than half of all labels, are no classes; nor are so many.
MANY_CLASSES, MAX_CLASSES = 20, 1_000
# No label equals it, so all labels that are not missing count: -1, too.
NO_MARKER = ""
# Texts that often mark a missing cell, in lower case.
MARKS = {"?", "-", "--", "na", "n/a", "nan", "null", "none", "unknown", "missing", "unlabeled", "-1"}
INTEGER = re.compile(r"-?(0|[1-9]\d{0,14})")


def check_labels(found: Scan, target: str) -> None:
    """Raise an error if labels cannot be learned; print a note if they hardly can."""
    labels, n_labeled = found.labels, found.n_labeled
    marks = [label for label in labels if str(label).lower() in MARKS]
    way_out = f" If {str(marks[0])!r} marks a missing label, add --missing {str(marks[0])!r}." if marks else ""
    if n_labeled == found.n_rows:
        raise CommandError(
            f"no row lacks a label: no cell of {target!r} is empty, so there is nothing to fill.{way_out}"
        )
    if not n_labeled:
        raise CommandError(f"all cells of {target!r} are empty. Fill in some labels of each class.")
    if len(labels) > MAX_CLASSES or len(labels) > max(MANY_CLASSES, n_labeled / 2):
        kind = "a number to predict" if found.columns[target].is_number else "names or free text"
        raise CommandError(
            f"{target!r} holds {len(labels):,} different labels in {counted(n_labeled, 'labeled row')}: it looks like "
            f"{kind}, not like classes. Choose another --target, or join labels to fewer classes. (impute fills "
            "empty cells of numbers.)"
        )
    if len(labels) == 1:
        raise CommandError(
            f"all labels of {target!r} are {str(next(iter(labels)))!r}. Label some rows of another class.{way_out}"
        )
    if marks:
        note(f"{str(marks[0])!r} is read as a class of {target!r}.{way_out}")
    single = [str(label) for label, count in labels.items() if count == 1]
    if single:
        note(f"of {listed(single)}, only one row is labeled. It cannot be predicted when its label is tested.")


def labels_of(cells: pa.ChunkedArray, labels: Counter[Any]) -> np.ndarray:
    """Return labels as objects: whole numbers as integers, other numbers and text as they are; None is no label."""
    values = list(labels)
    if all(isinstance(value, float) and value.is_integer() for value in values) or all(
        isinstance(value, str) and INTEGER.fullmatch(value) for value in values
    ):
        return np.array([None if cell is None else int(cell) for cell in cells.to_pylist()], dtype=object)
    return np.array(cells.to_pylist(), dtype=object)


def folds_of(y: np.ndarray) -> int:
    """Number of folds of the cross-validation; 0 if no class has two labels."""
    largest = max(Counter(label for label in y if label is not None).values())
    return min(MAX_FOLDS, largest) if largest > 1 else 0


def predicted_labels(model: Any, X: pa.Table, y: np.ndarray, n_folds: int, seed: int) -> list[Any]:
    """Predict each labeled row by a model that did not see its label."""
    if not n_folds:
        return []
    cv = LabeledStratifiedKFold(n_folds, shuffle=True, random_state=seed, unlabeled_value=NO_MARKER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit to all labels warns of the same
        return cross_val_predict_labeled(model, X, y, cv=cv, unlabeled_value=NO_MARKER).tolist()


def tell_accuracy(y: np.ndarray, predicted: list[Any], n_folds: int) -> None:
    """Print how many labels have been predicted right."""
    if not n_folds:
        print("Accuracy: unknown, as no class has two labels. Label more rows.")
        return
    given = [label for label in y if label is not None]
    wrong = Counter(pair for pair in zip(given, predicted, strict=True) if pair[0] != pair[1])
    n_right, (largest, n_largest) = len(given) - sum(wrong.values()), Counter(given).most_common(1)[0]
    print(
        f"Accuracy: {n_right:,} of {len(given):,} labels predicted right ({100 * n_right / len(given):.0f}%) by "
        f"models that did not see them ({n_folds}-fold cross-validation)."
    )
    print(f"          Always guessing {largest!r} would be right {n_largest:,} times.")
    if wrong:
        ((label, guess), count), *_ = wrong.most_common(1)
        print(f"          Most frequent mistake: {label!r} taken for {guess!r} ({counted(count, 'time')}).")
