"""Read y: find the labeled rows and encode their labels as class indices. All of skdgm reads y with these functions.

They are not in ``estimators`` because ``model_selection``, ``datasets`` and ``display`` need them and do not import
torch.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, column_or_1d

from skdgm._warnings import warn_user

# What None, NaN, NaT, and pandas.NA become in an array of NumPy's strings.
TEXTS_OF_MISSING = ("None", "nan", "NaT", "<NA>")


def is_labeled(y: Any, unlabeled_value: Any = -1) -> NDArray[np.bool_]:
    """Tell which rows of `y` carry a label.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels; a list, array, pandas Series or torch tensor of numbers, booleans or strings. A list that mixes strings
        and numbers is read as an object array, never as strings.
    unlabeled_value : int, float, str or None, default=-1
        Marks unlabeled rows. None, NaN, NaT and pandas.NA mark them too. If None, every row is labeled, even a row
        with a missing value.

    Returns
    -------
    labeled : ndarray of shape (n_samples,), dtype bool
        True where a row is labeled.

    Raises
    ------
    ValueError
        If `y` has more than one column, or if its type cannot hold the marker and `y` holds what the marker becomes in
        that type: the string ``'-1'`` for -1, 255 in uint8 for -1, a truncated string, or ``'nan'`` or ``'None'`` in an
        array of strings.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm._labels import is_labeled
    >>> is_labeled([0, -1, 1])
    array([ True, False,  True])
    >>> is_labeled(np.array(["cat", -1, None], dtype=object))
    array([ True, False, False])
    >>> is_labeled([0, -1, 1], unlabeled_value=None)
    array([ True,  True,  True])
    """
    return _is_labeled(as_column(y), unlabeled_value)


def labels_of(y: Any, unlabeled_value: Any = -1) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Find the labeled rows of `y` and their labels.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels, in any form that :func:`is_labeled` accepts. A column of shape (n_samples, 1) is raveled with a
        ``DataConversionWarning``.
    unlabeled_value : int, float, str or None, default=-1
        The marker of an unlabeled row.

    Returns
    -------
    labeled : ndarray of shape (n_samples,), dtype bool
        True where a row is labeled.
    labels : ndarray of shape (n_labeled,)
        The labels, without the marker. Numbers in an object array get their own dtype; strings stay objects.

    Raises
    ------
    ValueError
        As in :func:`is_labeled`, or if the labels mix strings and numbers, or contain missing or infinite values.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm._labels import labels_of
    >>> labels_of(np.array([2, None, 1], dtype=object))
    (array([ True, False,  True]), array([2, 1]))
    """
    column = as_column(y, warn=True)
    labeled = _is_labeled(column, unlabeled_value)
    return labeled, _natural(column[labeled])


def encode_labels(
    y: Any, unlabeled_value: Any = -1, *, owner: str, require_labeled: bool = True
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Encode `y` as sorted classes and one class index per row.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels, in any form that :func:`is_labeled` accepts. A column of shape (n_samples, 1) is raveled with a
        ``DataConversionWarning``.
    unlabeled_value : int, float, str or None, default=-1
        The marker of an unlabeled row; it is never among the classes.
    owner : str
        Name of the calling estimator or function, for error messages.
    require_labeled : bool, default=True
        Whether to raise an error if `y` has no labeled row. If False, `classes` is empty in that case.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Sorted unique labels; ``classes[targets[labeled]]`` equals ``y[labeled]``. A single class is allowed.
    targets : ndarray of shape (n_samples,), dtype int64
        Index into `classes`, or -1 for an unlabeled row.

    Raises
    ------
    ValueError
        If `y` has more than one column, no labeled row, continuous values, or labels that :func:`labels_of` rejects.

    Warns
    -----
    UserWarning
        If the empty string is one of the classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm._labels import encode_labels
    >>> encode_labels(np.array(["dog", -1, "cat"], dtype=object), owner="M2Classifier")
    (array(['cat', 'dog'], dtype=object), array([ 1, -1,  0]))
    """
    labeled, labels = labels_of(y, unlabeled_value)
    if require_labeled and not labeled.any():
        raise ValueError(_no_labeled_row(len(labeled), labels, unlabeled_value, owner))
    _check_discrete(labels)
    classes, positions = np.unique(labels, return_inverse=True)
    if "" in classes.tolist():
        message = f'{owner} takes the empty string for a class. If it marks unlabeled rows, pass unlabeled_value="".'
        warn_user(message)
    targets = np.full(len(labeled), -1, dtype=np.int64)
    targets[labeled] = positions
    return classes, targets


def check_two_classes(classes: NDArray[Any], owner: str) -> None:
    """Raise a ``ValueError`` if the labels are all of one class."""
    if len(classes) < 2:
        raise ValueError(
            f"{owner} needs labels of at least two classes, got one class, {classes.tolist()[0]!r}. "
            "Label at least one row of another class."
        )


def as_column(y: Any, *, warn: bool = False) -> NDArray[Any]:
    """Return y as a 1-d array: a single column is raveled, several columns raise scikit-learn's error."""
    return column_or_1d(_as_array(y), warn=warn)


def is_missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which entries of a 1-d array are None, NaN, NaT or pandas.NA."""
    if column.dtype.kind == "O":
        return np.array([_is_missing(value) for value in column], dtype=bool)
    return np.isnan(column) if column.dtype.kind in "fmM" else np.zeros(len(column), dtype=bool)


def _as_array(y: Any) -> NDArray[Any]:
    if isinstance(y, list | tuple):
        return _from_list(y)
    if hasattr(y, "detach"):  # a torch tensor, perhaps on a GPU
        y = y.detach().cpu().numpy()
    # Integers with missing values become floats in NumPy, which would turn class 1 into 1.0.
    if hasattr(y, "isna"):
        y = y if isinstance(getattr(y, "dtype", None), np.dtype | None) else y.astype(object)
        array = np.asarray(y)
    else:
        array = _with_missing_integers(y, np.asarray(y))
    # NumPy 2's StringDType may hold missing values, so it is read item by item.
    return array.astype(object) if array.dtype.kind == "T" else array


def _with_missing_integers(y: Any, array: NDArray[Any]) -> NDArray[Any]:
    """Read a column of polars or pyarrow that NumPy makes floats item by item."""
    items = getattr(y, "to_pylist", None) or getattr(y, "to_list", None)
    return array if items is None or array.dtype.kind != "f" or array.ndim != 1 else np.array(items(), dtype=object)


def _from_list(y: list[Any] | tuple[Any, ...]) -> NDArray[Any]:
    """Like np.asarray, but do not convert numbers to strings if the list also contains strings."""
    array = np.asarray(y)
    turned_to_strings = array.dtype.kind in "US" and not all(isinstance(value, str | bytes) for value in y)
    return np.array(y, dtype=object) if turned_to_strings else array


def _is_labeled(column: NDArray[Any], marker: Any) -> NDArray[np.bool_]:
    _check_no_text_of_missing(column, marker)
    if marker is None:
        return np.ones(len(column), dtype=bool)
    _check_holds_marker(column, marker)
    if column.dtype.kind == "O":
        return np.array([not (_is_missing(value) or value == marker) for value in column], dtype=bool)
    return ~(_equals(column, marker) | is_missing(column))


def _equals(column: NDArray[Any], marker: Any) -> NDArray[np.bool_]:
    """Compare with the marker, but never a string with a number: NumPy versions differ in what they return there."""
    comparable = (column.dtype.kind in "US") == isinstance(marker, str)
    return np.asarray(column == marker) if comparable else np.zeros(len(column), dtype=bool)


def _is_missing(value: Any) -> bool:
    """Whether a label is None, NaN, NaT or pandas.NA; pandas may not be installed, so its types are found by name."""
    if isinstance(value, float | np.floating | np.datetime64 | np.timedelta64):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _check_holds_marker(column: NDArray[Any], marker: Any) -> None:
    """Raise if the marker was written into an array whose type could not hold it and therefore changed it."""
    if not isinstance(marker, str):
        _check_no_string_marker(column, marker)
    if column.dtype.kind in "iu" and isinstance(marker, numbers.Integral):
        _check_not_wrapped(column, int(marker))
    if column.dtype.kind == "U" and isinstance(marker, str):
        _check_not_truncated(column, marker)


def _check_no_string_marker(column: NDArray[Any], marker: Any) -> None:
    text = str(marker)
    wanted = text.encode() if column.dtype.kind == "S" else text
    if column.dtype.kind in "USO" and any(isinstance(value, str | bytes) and value == wanted for value in column):
        raise ValueError(
            f"y (dtype {column.dtype}) holds the string {text!r}, but unlabeled_value={marker!r} is not a string. Mark "
            f"unlabeled rows in an object array, np.array(['a', {marker!r}], dtype=object), or pass "
            f"unlabeled_value={text!r}. If {text!r} is a class, pass unlabeled_value=None or another marker."
        )


def _check_no_text_of_missing(column: NDArray[Any], marker: Any) -> None:
    """Raise if y has the text that NumPy writes for a missing label into an array of strings."""
    texts = [text for text in TEXTS_OF_MISSING if text != marker] if column.dtype.kind == "U" else []
    found = [text for text in texts if (column == text).any()]
    if found:
        raise ValueError(
            f"y (dtype {column.dtype}) holds the string {found[0]!r}, which is what NumPy makes of a missing label in "
            "an array of strings. Put labels and None into an array of objects, np.array(['a', None], dtype=object), "
            f"or pass unlabeled_value={found[0]!r}. If {found[0]!r} is a class, pass np.array(y, dtype=object)."
        )


def _check_not_wrapped(column: NDArray[Any], marker: int) -> None:
    limits = np.iinfo(column.dtype)
    wrapped = marker % 2**limits.bits
    wrapped -= 2**limits.bits if wrapped > limits.max else 0
    if wrapped != marker and (column == wrapped).any():
        raise ValueError(
            f"y has dtype {column.dtype}, which cannot hold unlabeled_value={marker}, and holds {wrapped}, which is "
            f"what {marker} becomes in that type. Call y.astype(int) before you write {marker}; if {wrapped} is a "
            "class, y.astype(int) is enough."
        )


def _check_not_truncated(column: NDArray[Any], marker: str) -> None:
    width = column.dtype.itemsize // np.dtype("U1").itemsize
    if width < len(marker) and (column == marker[:width]).any():
        raise ValueError(
            f"y has dtype {column.dtype}, which cannot hold unlabeled_value={marker!r}, and holds "
            f"{marker[:width]!r}, which is {marker!r} cut to fit that type. Call y.astype(object) before you write "
            f"{marker!r}; if {marker[:width]!r} is a class, y.astype(object) is enough."
        )


def _natural(labels: NDArray[Any]) -> NDArray[Any]:
    """Convert labels in an object array to their own dtype; strings stay objects, as in scikit-learn."""
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    if labels.dtype.kind in "mMO":
        _check_none_missing(labels)
    if labels.dtype.kind != "O":
        return labels
    strings = sum(isinstance(label, str) for label in labels)
    if 0 < strings < len(labels):
        raise ValueError(_mixed_labels(labels))
    return labels if strings == len(labels) else _natural_numbers(labels)


def _natural_numbers(labels: NDArray[Any]) -> NDArray[Any]:
    """Convert objects to the dtype that NumPy infers for them; those without one stay objects."""
    array = np.array(labels.tolist())
    if array.dtype.kind == "O" or array.ndim != 1:
        return labels
    return _natural(array)


def _check_none_missing(labels: NDArray[Any]) -> None:
    # Only reached with unlabeled_value=None: otherwise a missing value is an unlabeled row.
    if any(_is_missing(label) for label in labels):
        raise ValueError(
            "Input y contains NaN, NaT, None or pandas.NA, and unlabeled_value=None treats every row as labeled. Drop "
            "these rows, or pass another unlabeled_value (such as -1): missing labels then mark unlabeled rows."
        )


def _mixed_labels(labels: NDArray[Any]) -> str:
    types = sorted({type(label).__name__ for label in labels})
    return (
        f"y mixes labels of the types {', '.join(types)}; labels must be all strings or all numbers. Convert them, "
        "for example with y.astype(str) on the labeled rows, or pass unlabeled_value if one of them marks unlabeled "
        "rows."
    )


def _check_discrete(labels: NDArray[Any]) -> None:
    """Raise the errors of scikit-learn's check_classification_targets, in its words.

    That function also warns if more than half of the labels differ, which is normal with one label per class.
    """
    kind = _unsupported_type(labels)
    if kind:
        raise ValueError(
            f"Unknown label type: {kind}. Maybe you are trying to fit a classifier, which expects discrete classes "
            "(integers, strings, booleans), on a regression target with continuous values."
        )


def _unsupported_type(labels: NDArray[Any]) -> str:
    if labels.dtype.kind == "f" and (labels != np.rint(labels)).any():
        return "continuous"
    if labels.dtype.kind == "S":
        return "bytes"
    return "unknown" if labels.dtype.kind == "O" and not all(isinstance(label, str) for label in labels) else ""


def _no_labeled_row(n_samples: int, labels: NDArray[Any], marker: Any, owner: str) -> str:
    or_missing = " or missing" if labels.dtype.kind in "fmMO" else ""
    return (
        f"y has no labeled row: all {n_samples} entries are {marker!r}{or_missing}. {owner} needs at least one labeled "
        "row per class; for unlabeled data use skdgm.VAE."
    )
