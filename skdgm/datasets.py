"""Hide labels to make semi-supervised problems, and load the papers' data sets like scikit-learn's loaders do."""

from __future__ import annotations

import csv
import numbers
import os
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import fetch_openml
from sklearn.utils import Bunch, check_random_state

from skdgm._labels import as_column, encode_labels, is_labeled

__all__ = ["load_binarized_mnist", "load_cifar_patches", "load_frey_faces", "load_mnist", "load_table", "mask_labels"]

# ---------------------------------------------------------------------------------------------------- hiding labels


def mask_labels(
    y: Any,
    n_labeled: int,
    *,
    stratify: bool | str = True,
    random_state: int | np.random.RandomState | None = None,
    unlabeled_value: Any = -1,
) -> NDArray[Any]:
    """Keep the labels of `n_labeled` rows and mark the other rows as unlabeled.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels. Rows that are already unlabeled stay unlabeled and are never chosen.
    n_labeled : int
        How many rows keep their label, at least 1; unless ``stratify=False``, at least the number of classes.
    stratify : {True, False, "proportional"}, default=True
        How many labels each class keeps.

        - True: every class keeps the same number, as in [1]_, whatever its proportion in `y`. If that does not divide
          evenly, classes drawn at random keep one more. A class with too few rows keeps all it has, and the others
          keep more.
        - "proportional": every class keeps a number in proportion to its labeled rows in `y`, rounded by largest
          remainders (ties are broken at random), but at least one. Classes that get more than their share this way
          leave fewer to the others.
        - False: rows are drawn uniformly from all labeled rows, and a class may be left without labels.
    random_state : int, RandomState instance or None, default=None
        Determines which rows are drawn. Pass an int for the same rows at every call.
    unlabeled_value : int, float or str, default=-1
        The marker to write into the other rows.

    Returns
    -------
    y_masked : ndarray of shape (n_samples,)
        A copy of `y`, in the same dtype if that can hold the marker. Otherwise booleans and unsigned integers become
        int64, integers become float64 for NaN, and strings become an object array.

    Raises
    ------
    ValueError
        If `n_labeled` is more than the number of labeled rows of `y` or, unless ``stratify=False``, less than the
        number of classes; if `stratify` has another value; or if ``unlabeled_value=None``, which cannot mark a row.
    TypeError
        If `n_labeled` is not an integer.

    References
    ----------
    .. [1] D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, "Semi-supervised Learning with Deep Generative Models",
       NIPS 2014. arXiv:1406.5298

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdgm.datasets import mask_labels
    >>> _, y = load_digits(return_X_y=True)
    >>> y_masked = mask_labels(y, 50, random_state=0)
    >>> [int((y_masked == label).sum()) for label in range(-1, 10)]
    [1747, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]
    >>> y = [0] * 90 + [1] * 9 + [2]
    >>> y_masked = mask_labels(y, 20, stratify="proportional", random_state=0)
    >>> [int((y_masked == label).sum()) for label in range(3)]
    [17, 2, 1]
    """
    if unlabeled_value is None:
        raise ValueError(
            "unlabeled_value=None reads every row as labeled, so it cannot mark one. Pass a marker, such as -1."
        )
    _check_stratify(stratify)
    column = as_column(y)
    strata = _strata(column, unlabeled_value, stratify=bool(stratify))
    available = np.bincount(strata[strata >= 0])
    _check_n_labeled(n_labeled, int(available.sum()), n_strata=len(available), stratify=stratify)
    masked = column.astype(_dtype_holding(column.dtype, unlabeled_value))
    hidden = np.ones(len(masked), dtype=bool)
    rng = check_random_state(random_state)
    split = _proportional_counts if isinstance(stratify, str) else _even_counts
    hidden[_draw(strata, split(available, n_labeled, rng), rng)] = False
    masked[hidden] = unlabeled_value
    return masked


def _check_stratify(stratify: Any) -> None:
    if not isinstance(stratify, bool | np.bool_) and not (isinstance(stratify, str) and stratify == "proportional"):
        raise ValueError(f"stratify must be True, False or 'proportional', got {stratify!r}.")


def _strata(column: NDArray[Any], marker: Any, *, stratify: bool) -> NDArray[np.int64]:
    """Return the group of each row, -1 if it may not be drawn. Groups are the classes, or one for all rows."""
    if stratify:
        return encode_labels(column, marker, owner="mask_labels", require_labeled=False)[1]
    return is_labeled(column, marker).astype(np.int64) - 1


def _check_n_labeled(n_labeled: int, n_available: int, *, n_strata: int, stratify: bool | str) -> None:
    if not _is_int(n_labeled):
        raise TypeError(f"n_labeled must be an int, the number of rows that keep their label; got {n_labeled!r}.")
    if n_labeled < 1:
        raise ValueError(f"n_labeled must be at least 1, got {n_labeled}.")
    if n_labeled > n_available:
        raise ValueError(
            f"n_labeled={n_labeled} is more than the {n_available} labeled rows of y. Use n_labeled <= {n_available}."
        )
    if n_labeled < n_strata:
        raise ValueError(
            f"n_labeled={n_labeled} is less than the {n_strata} classes of y, and stratify={stratify!r} keeps a label "
            f"of each. Use n_labeled >= {n_strata}, or stratify=False."
        )


def _is_int(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _draw(strata: NDArray[np.int64], counts: NDArray[Any], rng: np.random.RandomState) -> NDArray[np.int64]:
    """Draw rows without replacement, counts[k] of stratum k."""
    rows = [rng.choice(np.flatnonzero(strata == k), size=count, replace=False) for k, count in enumerate(counts)]
    return np.concatenate(rows)


def _even_counts(available: NDArray[Any], total: int, rng: np.random.RandomState) -> NDArray[Any]:
    """Split total into counts <= available, as evenly as possible; the classes that get one more are drawn."""
    counts = np.zeros_like(available)
    while left := total - counts.sum():
        open_ = np.flatnonzero(counts < available)
        share = left // len(open_)
        chosen = open_ if share else rng.choice(open_, size=left, replace=False)
        counts[chosen] = np.minimum(counts[chosen] + max(share, 1), available[chosen])
    return counts


def _proportional_counts(available: NDArray[Any], total: int, rng: np.random.RandomState) -> NDArray[Any]:
    """Split total into counts in proportion to available, at least 1 each, by largest remainders; ties are drawn."""
    counts = np.ones_like(available)
    open_ = np.arange(len(available))  # classes whose share is at least one label
    while True:
        left = total - (len(available) - len(open_))
        floors, remainders = np.divmod(left * available[open_], available[open_].sum())
        if floors.all():
            break
        open_ = open_[floors > 0]
    order = np.lexsort((rng.random_sample(len(open_)), -remainders))
    counts[open_] = floors
    counts[open_[order[: left - floors.sum()]]] += 1
    return counts


def _dtype_holding(dtype: np.dtype[Any], marker: Any) -> np.dtype[Any]:
    """Find a type that can hold labels of dtype and the marker."""
    if isinstance(marker, str):
        return np.result_type(dtype, np.array(marker)) if dtype.kind == "U" else np.dtype(object)
    if dtype.kind not in "buif":
        return np.dtype(object)
    if isinstance(marker, float) and dtype.kind != "f":
        return np.dtype(np.float64)
    # Unsigned types next to a negative number would end in float64 for uint64.
    signed = np.dtype(np.int64) if dtype.kind in "bu" else dtype
    return np.result_type(signed, np.min_scalar_type(marker))


# ------------------------------------------------------------------------------------------------------- data sets

_MNIST_DESCR = """\
MNIST: 70,000 handwritten digits, 28 x 28 gray pixels scaled to [0, 1], row by row.
The first 60,000 rows are the training set and the last 10,000 the test set, both in their original order.
Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998 (from NIST Special Databases 1 and 3).
"""

_BINARIZED_MNIST_DESCR = """\
The fixed binarization of MNIST: 50,000 training, 10,000 validation and 10,000 test images of 28 x 28 pixels, 0 or 1.
The original has no labels; target and source were recovered by matching each image to its most likely gray image.
source gives the row of MNIST's training set (training and validation rows) or of its test set (test rows).
Beware: the test rows are sorted by class, so the first of them are not a random sample.
R. Salakhutdinov, I. Murray, "On the quantitative analysis of deep belief networks", ICML 2008;
H. Larochelle, I. Murray, "The neural autoregressive distribution estimator", AISTATS 2011.
"""

_FREY_FACES_DESCR = """\
Frey faces: 1,965 frames of a video of one face, 28 rows x 20 columns of gray pixels scaled to [0, 1], row by row.
Beware: neighboring rows are neighboring frames, so a random split leaks; hold out blocks of rows instead.
B. Frey, from Sam Roweis's data page (frey_rawface.mat).
"""

_CIFAR_PATCHES_DESCR = """\
Random square patches of CIFAR-10 images, colors scaled to [0, 1]; a row runs over pixel rows, columns, then R, G, B.
They are drawn from the first 4,000 training or the first 1,000 test images, not from the whole of CIFAR-10.
A. Krizhevsky, "Learning multiple layers of features from tiny images", technical report, 2009.
"""

_N_MNIST_TRAIN = 60_000


def load_mnist(
    *, return_X_y: bool = False, subset: str = "all", data_home: str | os.PathLike[str] | None = None
) -> Bunch | tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load MNIST from the folder that SKDGM_DATA names, or else from OpenML.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    subset : {"all", "train", "test"}, default="all"
        The 60,000 training rows, the 10,000 test rows, or both in this order.
    data_home : str or path-like, default=None
        Where :func:`sklearn.datasets.fetch_openml` keeps its downloads; unused if the file ``mnist.npz`` is in the
        folder that the environment variable SKDGM_DATA names.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data``, float32 of shape (n_samples, 784) in [0, 1]; ``target``, int64 of shape (n_samples,) in 0 to 9;
        ``images``, the data reshaped to (n_samples, 28, 28); and ``DESCR``.
    (data, target) : tuple if ``return_X_y`` is True

    Raises
    ------
    OSError
        If the file is missing and OpenML cannot be reached.

    Examples
    --------
    >>> from skdgm.datasets import load_mnist
    >>> X, y = load_mnist(return_X_y=True, subset="test")  # doctest: +SKIP
    >>> X.shape, y[:4]  # doctest: +SKIP
    ((10000, 784), array([7, 2, 1, 0]))
    """
    parts = _parts(subset, ("train", "test"))
    path = _find("mnist.npz")
    arrays = _read(path) if path else _fetch_mnist(data_home)
    return _labeled_images(arrays, parts, return_X_y, scale=255, DESCR=_MNIST_DESCR)


def load_binarized_mnist(
    *, return_X_y: bool = False, subset: str = "train"
) -> Bunch | tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load the fixed binarization of MNIST, used to compare log-likelihoods, from the folder that SKDGM_DATA names.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    subset : {"train", "valid", "test", "all"}, default="train"
        The 50,000 training rows, the 10,000 validation rows, the 10,000 test rows, or all in this order. The test rows
        are sorted by class.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data``, float32 of shape (n_samples, 784), 0 or 1; ``target``, int64 of shape (n_samples,) in 0 to 9;
        ``source``, int64 of shape (n_samples,), the row of MNIST's training or test set; ``images``, the data reshaped
        to (n_samples, 28, 28); and ``DESCR``.
    (data, target) : tuple if ``return_X_y`` is True

    Raises
    ------
    FileNotFoundError
        If ``mnist_binarized_fixed.npz`` is not in the folder that SKDGM_DATA names.

    Examples
    --------
    >>> from skdgm.datasets import load_binarized_mnist
    >>> load_binarized_mnist(subset="valid").data.shape  # doctest: +SKIP
    (10000, 784)
    """
    parts = _parts(subset, ("train", "valid", "test"))
    arrays = _read(_require("mnist_binarized_fixed.npz", _BINARIZED_MNIST_FILE))
    source = _joined(arrays, "source", parts).astype(np.int64)
    return _labeled_images(arrays, parts, return_X_y, scale=1, source=source, DESCR=_BINARIZED_MNIST_DESCR)


def load_frey_faces() -> Bunch:
    """Load the Frey faces, 1,965 video frames of one face, from the folder that SKDGM_DATA names.

    Neighboring rows are neighboring frames: hold out blocks of rows, because a random split leaks.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data``, float32 of shape (1965, 560) in [0, 1]; ``images``, the data reshaped to (1965, 28, 20); and
        ``DESCR``. There are no labels.

    Raises
    ------
    FileNotFoundError
        If ``frey_faces.npz`` is not in the folder that SKDGM_DATA names.

    Examples
    --------
    >>> from skdgm.datasets import load_frey_faces
    >>> load_frey_faces().data.shape  # doctest: +SKIP
    (1965, 560)
    """
    data = _scaled(_read(_require("frey_faces.npz", _FREY_FACES_FILE))["x"], 255)
    return Bunch(data=data, images=data.reshape(-1, 28, 20), DESCR=_FREY_FACES_DESCR)


def load_cifar_patches(
    n_patches: int = 10_000,
    patch_size: int = 8,
    *,
    subset: str = "train",
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Draw random square patches of CIFAR-10 images, read from the folder that SKDGM_DATA names.

    Parameters
    ----------
    n_patches : int, default=10000
        How many patches to draw, at least 1; images and positions are drawn with replacement.
    patch_size : int, default=8
        Width and height of a patch, 1 to 32 (the whole image).
    subset : {"train", "test", "all"}, default="train"
        Which images to draw from: 4,000 training images, 1,000 test images, or both.
    random_state : int, RandomState instance or None, default=None
        Determines which patches are drawn. Pass an int for the same patches at every call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data``, float32 of shape (n_patches, 3 * patch_size**2) in [0, 1]; ``images``, the data reshaped
        to (n_patches, patch_size, patch_size, 3); and ``DESCR``. There are no labels.

    Raises
    ------
    FileNotFoundError
        If ``cifar10_subset.npz`` is not in the folder that SKDGM_DATA names.
    ValueError
        If `n_patches` or `patch_size` is out of its range.

    Examples
    --------
    >>> from skdgm.datasets import load_cifar_patches
    >>> load_cifar_patches(100, patch_size=6, random_state=0).data.shape  # doctest: +SKIP
    (100, 108)
    """
    parts = _parts(subset, ("train", "test"))
    _check_count("n_patches", n_patches)
    _check_count("patch_size", patch_size, 32)
    images = _joined(_read(_require("cifar10_subset.npz", _CIFAR_FILE)), "x", parts)
    patches = _scaled(_random_patches(images, n_patches, patch_size, check_random_state(random_state)), 255)
    return Bunch(data=patches.reshape(n_patches, -1), images=patches, DESCR=_CIFAR_PATCHES_DESCR)


class _Table(NamedTuple):
    """How to read a table.

    Attributes
    ----------
    about : str
        What a row is and what the target means.
    target : str
        The column that holds the classes.
    categorical : tuple of str
        The columns that hold categories, written as words, codes or numbers.
    dropped : tuple of str
        Columns that are not features; a name that ends in ``_`` stands for all columns with this prefix.
    zero_is_missing : tuple of str
        Columns in which a missing value was written as 0.
    """

    about: str
    target: str
    categorical: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    zero_is_missing: tuple[str, ...] = ()


_ADULT_CATEGORIES = "workclass education marital_status occupation relationship race sex native_country"
_RECURRENCE_CATEGORIES = "age menopause tumor_size inv_nodes node_caps breast breast_quad irradiat"
_COLIC_CATEGORIES = (
    "surgery age temperature_of_extremities peripheral_pulse mucous_membranes capillary_refill_time pain peristalsis "
    "abdominal_distension nasogastric_tube nasogastric_reflux rectal_examination abdomen abdominocentesis_appearance"
)
_CREDIT_CATEGORIES = (
    "checking_status credit_history purpose savings employment personal_status other_parties property other_plans "
    "housing job telephone foreign_worker"
)

_TABLES = {
    "adult": _Table(
        "Adults of the 1994 US census; is their income above 50,000 dollars a year? The training part of UCI's Adult, "
        "without fnlwgt, which is a sampling weight.",
        "income",
        categorical=tuple(_ADULT_CATEGORIES.split()),
        dropped=("fnlwgt",),
    ),
    "breast_cancer_recurrence": _Table(
        "Breast cancer patients (Ljubljana); did the tumor come back?",
        "recurrence",
        categorical=tuple(_RECURRENCE_CATEGORIES.split()),
    ),
    "horse_colic": _Table(
        "Horses with colic; did they live (1), die (2), or were they put down (3)? Without the hospital's number and "
        "the columns that are known only afterwards (surgical_lesion, lesion_*, cp_data), and without the row that has "
        "no outcome.",
        "outcome",
        categorical=tuple(_COLIC_CATEGORIES.split()),
        dropped=("hospital_number", "surgical_lesion", "lesion_", "cp_data"),
    ),
    "german_credit": _Table(
        "Applicants for a loan; good (1) or bad (2) credit risk? Statlog's German Credit.",
        "credit_risk",
        categorical=tuple(_CREDIT_CATEGORIES.split()),
    ),
    "pima_diabetes": _Table(
        "Pima women; diabetes (1) or not (0)? A 0 in glucose, blood_pressure, skin_thickness, insulin or bmi means a "
        "missing value and is read as one.",
        "diabetes",
        zero_is_missing=("glucose", "blood_pressure", "skin_thickness", "insulin", "bmi"),
    ),
    "sonar": _Table("Sonar echoes in 60 bands of frequency; mine (M) or rock (R)?", "target"),
    "ionosphere": _Table("Radar echoes from the ionosphere; good (g) or bad (b)?", "target"),
    "wheat_seeds": _Table("Measurements of wheat kernels; which of three varieties?", "variety"),
    "ecoli": _Table("Proteins of E. coli; where in the cell do they sit?", "site"),
    "glass": _Table("Refractive index and oxides of glass; what was the glass made for?", "type"),
    "banknote": _Table("Wavelet statistics of images of banknotes; forged (1) or not (0)?", "forged"),
}
_TABLES_FROM = "From the UCI Machine Learning Repository (D. Dua, C. Graff), CC BY 4.0."


def load_table(name: str, *, return_X_y: bool = False, as_frame: bool | str = "auto") -> Bunch | tuple[Any, Any]:
    """Load a real table with classes to predict, from the folder that SKDGM_DATA names.

    Parameters
    ----------
    name : str
        Which table: "adult", "breast_cancer_recurrence", "horse_colic", "german_credit", "pima_diabetes", "sonar",
        "ionosphere", "wheat_seeds", "ecoli", "glass" or "banknote".
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool or "auto", default="auto"
        Whether to return a pandas DataFrame and Series instead of arrays. "auto" does so if pandas is installed.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data``, of shape (n_samples, n_features); ``target``, of shape (n_samples,), integers or, for "adult",
        "breast_cancer_recurrence", "sonar", "ionosphere" and "ecoli", strings; ``feature_names``, a list of str;
        ``categorical_features``, the names of the columns that hold categories, including those that the file codes as
        numbers; ``frame``, data and target in one DataFrame, or None; and ``DESCR``.

        Categories are strings, and all other columns are floats. In a DataFrame, categorical columns have the dtype
        "category". An array is float64, or object if there are categorical columns; missing cells are NaN in numeric
        columns and None in categorical columns.
    (data, target) : tuple if ``return_X_y`` is True

    Raises
    ------
    FileNotFoundError
        If ``tables/<name>.csv`` is not in the folder that SKDGM_DATA names.
    ImportError
        If ``as_frame=True`` and pandas is not installed.
    ValueError
        If `name` or `as_frame` is unknown.

    Notes
    -----
    Columns that are not features are left out ("fnlwgt" of "adult"; the hospital's number and what is known only after
    the outcome of "horse_colic"), and so is the row of "horse_colic" without an outcome. Zeros in five columns of
    "pima_diabetes" are read as missing values.

    References
    ----------
    .. [1] D. Dua, C. Graff, "UCI Machine Learning Repository", University of California, Irvine, 2019.

    Examples
    --------
    >>> from skdgm.datasets import load_table
    >>> table = load_table("german_credit", as_frame=False)  # doctest: +SKIP
    >>> table.data.shape, table.categorical_features[:2]  # doctest: +SKIP
    ((1000, 20), ['checking_status', 'credit_history'])
    """
    if name not in _TABLES:
        raise ValueError(f"name={name!r} is unknown. Use one of {tuple(_TABLES)}.")
    framed, table = _framed(as_frame), _TABLES[name]
    columns = _read_columns(_require(f"tables/{name}.csv", _TABLE_FILE.format(target=table.target)), table.target)
    target, features = _classes(columns.pop(table.target)), _features(columns, table)
    pack = _as_frames if framed else _as_arrays
    bunch = pack(features, target, table)
    return (bunch.data, bunch.target) if return_X_y else bunch


def _framed(as_frame: bool | str) -> bool:
    if as_frame not in (True, False, "auto"):
        raise ValueError(f"as_frame must be True, False or 'auto', got {as_frame!r}.")
    installed = find_spec("pandas") is not None
    if as_frame is True and not installed:
        raise ImportError(
            "as_frame=True needs pandas, which is not installed. Install it (pip install pandas), or use "
            "as_frame='auto' or as_frame=False for arrays."
        )
    return bool(as_frame) and installed


def _read_columns(path: Path, target: str) -> dict[str, list[str]]:
    """Read the cells of each column as text, from the rows that have a target."""
    with open(path, newline="", encoding="utf8") as file:
        header, *rows = csv.reader(file)
    position = header.index(target)
    cells = zip(*(row for row in rows if row[position]), strict=True)
    return {column: list(values) for column, values in zip(header, cells, strict=True)}


def _features(columns: Mapping[str, list[str]], table: _Table) -> dict[str, NDArray[Any]]:
    """Convert columns to float or object arrays, and leave out those that are not features."""
    kept = {name: cells for name, cells in columns.items() if not _is_dropped(name, table.dropped)}
    features = {name: (_categories if name in table.categorical else _numbers)(cells) for name, cells in kept.items()}
    for name in table.zero_is_missing:
        features[name][features[name] == 0] = np.nan
    return features


def _is_dropped(name: str, dropped: Iterable[str]) -> bool:
    return any(name == pattern or (pattern.endswith("_") and name.startswith(pattern)) for pattern in dropped)


def _numbers(cells: list[str]) -> NDArray[np.float64]:
    return np.array([float(cell) if cell else np.nan for cell in cells])


def _categories(cells: list[str]) -> NDArray[Any]:
    return np.array([cell or None for cell in cells], dtype=object)


def _classes(cells: list[str]) -> NDArray[Any]:
    """Integers if all cells are, else strings in an object array, which can also hold a marker of unlabeled rows."""
    whole = all(cell.isdecimal() for cell in cells)
    return np.array(cells).astype(np.int64) if whole else np.array(cells, dtype=object)


def _as_arrays(features: Mapping[str, NDArray[Any]], target: NDArray[Any], table: _Table) -> Bunch:
    dtype = object if table.categorical else np.float64
    data = np.column_stack([column.astype(dtype) for column in features.values()])
    return _table_bunch(features, table, data=data, target=target, frame=None)


def _as_frames(features: Mapping[str, NDArray[Any]], target: NDArray[Any], table: _Table) -> Bunch:
    pandas = import_module("pandas")  # by name: it is optional
    columns = {name: pandas.Categorical(c) if c.dtype == object else c for name, c in features.items()}
    data = pandas.DataFrame(columns)
    labels = pandas.Series(target, name=table.target, dtype=target.dtype)
    frame = pandas.concat([data, labels], axis=1)
    return _table_bunch(features, table, data=data, target=labels, frame=frame)


def _table_bunch(features: Mapping[str, NDArray[Any]], table: _Table, **contents: Any) -> Bunch:
    categorical = [name for name in features if name in table.categorical]
    names = {"feature_names": list(features), "categorical_features": categorical}
    return Bunch(**contents, **names, DESCR=f"{table.about}\n{_TABLES_FROM}\n")


_BINARIZED_MNIST_FILE = (
    "a NumPy archive with uint8 arrays x_train (50000, 784), x_valid, x_test (10000, 784) of 0 and 1, made from the "
    "three .amat files of Larochelle and Murray (2011), with y_* (labels) and source_* (rows of MNIST)"
)
_FREY_FACES_FILE = (
    "a NumPy archive with the uint8 array x (1965, 560), made from frey_rawface.mat of Sam Roweis's data page"
)
_CIFAR_FILE = (
    "a NumPy archive with uint8 arrays x_train and x_test (n, 32, 32, 3), made from images of CIFAR-10 (A. Krizhevsky)"
)
_TABLE_FILE = (
    "comma-separated text with a header line and empty missing cells, made from the file of the UCI repository, with "
    "the target in the column {target!r}"
)


def _find(name: str) -> Path | None:
    folder = os.environ.get("SKDGM_DATA")
    path = Path(folder, name) if folder else None
    return path if path and path.is_file() else None


def _require(name: str, contents: str) -> Path:
    path = _find(name)
    if path is None:
        folder = os.environ.get("SKDGM_DATA")
        where = f"in SKDGM_DATA={folder!r}" if folder else "as the environment variable SKDGM_DATA is not set"
        raise FileNotFoundError(
            f"{name} was not found {where}. Set SKDGM_DATA to a folder that holds this file: {contents}."
        )
    return path


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def _fetch_mnist(data_home: str | os.PathLike[str] | None) -> dict[str, NDArray[Any]]:
    # The pandas parser is fast; the other takes a minute but needs no other package.
    parser = "pandas" if find_spec("pandas") else "liac-arff"
    try:
        X, y = fetch_openml("mnist_784", version=1, data_home=data_home, return_X_y=True, as_frame=False, parser=parser)
    except OSError as error:
        raise OSError(
            f"MNIST could not be fetched from OpenML ({error}), and mnist.npz was not found in "
            f"SKDGM_DATA={os.environ.get('SKDGM_DATA')!r}. Go online, or set SKDGM_DATA to a folder that holds it: "
            "a NumPy archive with uint8 arrays x_train (60000, 784), y_train, x_test (10000, 784), y_test."
        ) from error
    return _cut_mnist(X, y.astype(np.int64))


def _cut_mnist(X: NDArray[Any], y: NDArray[Any]) -> dict[str, NDArray[Any]]:
    train, test = slice(None, _N_MNIST_TRAIN), slice(_N_MNIST_TRAIN, None)
    return {"x_train": X[train], "y_train": y[train], "x_test": X[test], "y_test": y[test]}


def _parts(subset: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the parts that make up a subset, in order."""
    if subset == "all":
        return known
    if subset in known:
        return (subset,)
    raise ValueError(f"subset={subset!r} is unknown. Use one of {(*known, 'all')}.")


def _joined(arrays: Mapping[str, NDArray[Any]], name: str, parts: tuple[str, ...]) -> NDArray[Any]:
    return np.concatenate([arrays[f"{name}_{part}"] for part in parts])


def _scaled(pixels: NDArray[Any], scale: int) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(scale)


def _labeled_images(
    arrays: Mapping[str, NDArray[Any]], parts: tuple[str, ...], return_X_y: bool, *, scale: int, **others: Any
) -> Bunch | tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return MNIST-like images and labels in the form of scikit-learn's loaders."""
    data = _scaled(_joined(arrays, "x", parts), scale)
    target = _joined(arrays, "y", parts).astype(np.int64)
    if return_X_y:
        return data, target
    return Bunch(data=data, target=target, images=data.reshape(-1, 28, 28), **others)


def _check_count(name: str, value: int, largest: int | None = None) -> None:
    if not _is_int(value) or value < 1 or (largest is not None and value > largest):
        upper = "" if largest is None else f" and at most {largest}"
        raise ValueError(f"{name} must be an int, at least 1{upper}; got {value!r}.")


def _random_patches(images: NDArray[Any], n_patches: int, size: int, rng: np.random.RandomState) -> NDArray[Any]:
    """Draw patches of shape (n_patches, size, size, 3) from images of shape (n_images, height, width, 3)."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    chosen = tuple(rng.randint(count, size=n_patches) for count in windows.shape[:3])
    return np.moveaxis(windows[chosen], 1, -1)
