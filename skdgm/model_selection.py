"""Cross-validation and scores on labeled rows only; scikit-learn's own tools would treat -1 as another class."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import (
    BaseCrossValidator,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
    check_cv,
    cross_validate,
)
from sklearn.utils import check_scalar, indexable
from sklearn.utils.metadata_routing import get_routing_for_object

from skdgm._labels import as_column, encode_labels, is_labeled, is_missing, labels_of
from skdgm._sklearn_compat import _enforce_prediction_order, scorer_name, with_labels

__all__ = [
    "LabeledStratifiedGroupKFold",
    "LabeledStratifiedKFold",
    "LabeledTimeSeriesSplit",
    "cross_val_predict_labeled",
    "make_labeled_scorer",
]


class _LabeledSplitter(BaseCrossValidator):
    """Splits whose test parts hold labeled rows only."""

    n_splits: int
    unlabeled_value: Any
    _without_labels: ClassVar[str]  # scikit-learn's splitter for tables without labels

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of splits.

        Parameters
        ----------
        X, y, groups : object
            Ignored, present for API consistency.

        Returns
        -------
        n_splits : int
            The parameter `n_splits`.
        """
        return self.n_splits

    def _check_y_given(self, y: Any) -> None:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} needs y to tell labeled rows, got None. Use {self._without_labels} without "
                "labels."
            )


class _LabeledKFold(_LabeledSplitter):
    """Stratified folds of the labeled rows."""

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
        unlabeled_value: Any = -1,
    ) -> None:
        StratifiedKFold(n_splits, shuffle=shuffle, random_state=random_state)  # raises for values out of range
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state
        self.unlabeled_value = unlabeled_value

    def _class_indices(self, y: Any) -> NDArray[np.int64]:
        """Return class indices of y, -1 where unlabeled; raise if they cannot fill n_splits folds."""
        self._check_y_given(y)
        name = type(self).__name__
        _, indices = encode_labels(y, self.unlabeled_value, owner=name, require_labeled=False)
        largest = np.bincount(indices + 1)[1:].max(initial=0)
        if largest < self.n_splits:
            raise ValueError(
                f"{name}(n_splits={self.n_splits}) needs a class with at least {self.n_splits} labeled "
                f"rows, but y has {(indices >= 0).sum()} labeled among {len(indices)} rows, at most {largest} in a "
                f"class. Use fewer splits, label more rows, or use {self._without_labels} if there are no labels."
            )
        return indices


class LabeledStratifiedKFold(_LabeledKFold):
    """Stratified K-fold over the labeled rows, with all unlabeled rows in every training set.

    The labeled rows are split into test folds as :class:`~sklearn.model_selection.StratifiedKFold` would split them on
    their own. Unlabeled rows are never in a test fold, because they have no label to compare a prediction with.
    scikit-learn's own splitters treat the marker of unlabeled rows as another class, and a score then counts every
    prediction for such a row as wrong.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2. Each needs a labeled row to test on, so at least one class must have `n_splits`
        labeled rows. More folds train on more labels, and take longer.
    shuffle : bool, default=False
        Whether to shuffle each class before splitting it. If False, folds take the labeled rows in order.
    random_state : int, RandomState instance or None, default=None
        Seeds the shuffling; must be None if ``shuffle=False``. Pass an int for the same folds at every call.
    unlabeled_value : int, float, str or None, default=-1
        Marks unlabeled rows in `y`, as None, NaN, NaT and pandas.NA always do. If None, every row is labeled, and the
        folds are those of StratifiedKFold.

    See Also
    --------
    LabeledStratifiedGroupKFold : Folds that keep the rows of a group together.
    LabeledTimeSeriesSplit : Test rows later than all training rows.
    make_labeled_scorer : Scores labeled rows only, for use with other splitters and for training scores.
    cross_val_predict_labeled : Predictions for each labeled row by a model that was not trained on its label.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm.model_selection import LabeledStratifiedKFold
    >>> y = np.array([0, -1, 1, 0, -1, 1])
    >>> cv = LabeledStratifiedKFold(n_splits=2)
    >>> for train, test in cv.split(np.zeros((6, 1)), y):
    ...     print(train, test)
    [1 3 4 5] [0 2]
    [0 1 2 4] [3 5]

    As ``cv=`` in a search or a cross-validation:

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.semi_supervised import LabelSpreading
    >>> from skdgm.datasets import mask_labels
    >>> X, y = load_digits(return_X_y=True)
    >>> y = mask_labels(y, 180, random_state=0)
    >>> model = LabelSpreading(kernel="knn")
    >>> float(cross_val_score(model, X, y).mean().round(2))  # -1 counts as a class
    0.1
    >>> float(cross_val_score(model, X, y, cv=cv).mean().round(2))
    0.95
    """

    _without_labels = "KFold"

    def _iter_test_indices(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[NDArray[np.intp]]:
        if groups is not None:
            warnings.warn("The groups parameter is ignored by LabeledStratifiedKFold", UserWarning, stacklevel=4)
        classes = self._class_indices(y)
        labeled = np.flatnonzero(classes >= 0)
        folds = StratifiedKFold(self.n_splits, shuffle=self.shuffle, random_state=self.random_state)
        for _, test in folds.split(labeled, classes[labeled]):
            yield labeled[test]


class LabeledStratifiedGroupKFold(_LabeledKFold):
    """Stratified K-fold over the labeled rows that keeps the rows of a group together.

    No group has rows both in a test fold and in the training rows of that fold. The test folds hold labeled rows only:
    those that :class:`~sklearn.model_selection.StratifiedGroupKFold` would choose on the labeled rows alone, with class
    shares as equal as whole groups permit. The unlabeled rows of a tested group are left out of that fold, because an
    unlabeled row of the same patient or document gives away much of what is to be predicted. All rows of other groups
    are trained on, including groups without any label.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2. There must be labeled rows in `n_splits` groups or more, and at least one class
        must have `n_splits` labeled rows. More folds train on more labels, and take longer.
    shuffle : bool, default=False
        Whether to shuffle the groups before splitting. It only changes the order among groups with the same spread of
        labels over the classes, as in StratifiedGroupKFold.
    random_state : int, RandomState instance or None, default=None
        Seeds the shuffling; must be None if ``shuffle=False``. Pass an int for the same folds at every call.
    unlabeled_value : int, float, str or None, default=-1
        Marks unlabeled rows in `y`, as None, NaN, NaT and pandas.NA always do. If None, every row is labeled, and the
        folds are those of StratifiedGroupKFold.

    See Also
    --------
    LabeledStratifiedKFold : Folds for independent rows.
    LabeledTimeSeriesSplit : Test rows later than all training rows.

    Notes
    -----
    A class whose labels all belong to one group is missing from the training rows when that group is tested.

    The rows of an inner cross-validation, as in :class:`~skdgm.SemiSupervisedMetaClassifier` or for `calibration_cv`,
    are not kept apart by groups.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm.model_selection import LabeledStratifiedGroupKFold
    >>> y = np.array([0, -1, 1, 0, -1, 1, -1])
    >>> patients = np.array(["a", "a", "a", "b", "b", "b", "c"])
    >>> cv = LabeledStratifiedGroupKFold(n_splits=2)
    >>> for train, test in cv.split(np.zeros((7, 1)), y, patients):
    ...     print(train, test)
    [3 4 5 6] [0 2]
    [0 1 2 6] [3 5]

    As ``cv=`` in a search, which takes the groups in ``fit``:

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.semi_supervised import LabelSpreading
    >>> from skdgm.datasets import mask_labels
    >>> X, y = load_digits(return_X_y=True)
    >>> y_few = mask_labels(y, 180, random_state=0)
    >>> writers = np.arange(len(y)) // 40
    >>> search = GridSearchCV(LabelSpreading(), {"gamma": [0.001, 0.003]}, cv=LabeledStratifiedGroupKFold())
    >>> search.fit(X, y_few, groups=writers).best_params_
    {'gamma': 0.003}
    """

    _without_labels = "GroupKFold"
    __metadata_request__split: ClassVar[dict[str, bool]] = {"groups": True}

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Generate the training and test indices of each fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Labeled and unlabeled rows.
        y : array-like of shape (n_samples,)
            Labels, with the marker for unlabeled rows.
        groups : array-like of shape (n_samples,)
            Group of each row, labeled or not, as numbers or strings without missing values.

        Yields
        ------
        train : ndarray
            All rows of the groups that are not tested.
        test : ndarray
            The labeled rows of the groups that are tested.

        Raises
        ------
        ValueError
            If `y` or `groups` is missing, a row has no group, or there are too few labels or labeled groups.
        """
        indices = _group_indices(groups, type(self).__name__)
        for train, test in super().split(X, y, indices):
            yield train[~np.isin(indices[train], indices[test])], test

    def _iter_test_indices(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[NDArray[np.intp]]:
        classes = self._class_indices(y)
        labeled = np.flatnonzero(classes >= 0)
        yield from (labeled[test] for test in self._folds(classes[labeled], groups[labeled]))

    def _folds(self, classes: NDArray[np.int64], groups: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Return the test folds among the labeled rows; raise if one is empty, as few groups can leave it."""
        n_groups, folds = len(np.unique(groups)), []
        if n_groups >= self.n_splits:
            splitter = StratifiedGroupKFold(self.n_splits, shuffle=self.shuffle, random_state=self.random_state)
            folds = [test for _, test in splitter.split(classes, classes, groups)]
        if not folds or not all(map(len, folds)):
            raise ValueError(
                f"LabeledStratifiedGroupKFold(n_splits={self.n_splits}) cannot give each fold a labeled row: the "
                f"{len(groups)} labeled rows are in {n_groups} groups. Use fewer splits, label rows of more groups, or "
                "try shuffle=True with another random_state."
            )
        return folds


class LabeledTimeSeriesSplit(_LabeledSplitter):
    """Splits of rows in time order: test on labeled rows, train on all rows before them.

    The last labeled rows are divided into `n_splits` blocks of consecutive labeled rows, as
    :class:`~sklearn.model_selection.TimeSeriesSplit` would divide the labeled rows alone, so every test part has the
    same number of labels wherever these are in time. The training rows of a block are all rows before its first row,
    labeled or not. Unlabeled rows from then on are left out: at the time of the prediction, they have not been seen.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits, at least 2. More splits test on smaller blocks, and take longer.
    test_size : int or None, default=None
        Number of labeled rows of each test part, at least 1. None is the number of labeled rows divided by ``n_splits +
        1``, rounded down. Larger test parts leave fewer rows to train on.
    gap : int, default=0
        Number of rows, labeled or not, to leave out between the training rows and the first test row. A larger gap
        leaves fewer rows to train on.
    unlabeled_value : int, float, str or None, default=-1
        Marks unlabeled rows in `y`, as None, NaN, NaT and pandas.NA always do. If None, every row is labeled, and the
        splits are those of TimeSeriesSplit.

    See Also
    --------
    LabeledStratifiedKFold : Folds for independent rows.
    LabeledStratifiedGroupKFold : Folds that keep the rows of a group together.

    Notes
    -----
    The blocks are not stratified. The first training parts may lack a class that appears later.

    The first labeled rows are in no test part. :func:`cross_val_predict_labeled` therefore needs
    ``return_indices=True`` with these splits.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm.model_selection import LabeledTimeSeriesSplit
    >>> y = np.array([0, -1, 1, -1, 0, -1, 1, 0, -1, 1])
    >>> for train, test in LabeledTimeSeriesSplit(n_splits=2).split(np.zeros((10, 1)), y):
    ...     print(train, test)
    [0 1 2 3] [4 6]
    [0 1 2 3 4 5 6] [7 9]
    """

    _without_labels = "TimeSeriesSplit"

    def __init__(
        self, n_splits: int = 5, *, test_size: int | None = None, gap: int = 0, unlabeled_value: Any = -1
    ) -> None:
        TimeSeriesSplit(n_splits)  # raises for values out of range
        check_scalar(gap, "gap", Integral, min_val=0)
        if test_size is not None:
            check_scalar(test_size, "test_size", Integral, min_val=1)
        self.n_splits = n_splits
        self.test_size = test_size
        self.gap = gap
        self.unlabeled_value = unlabeled_value

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Generate the training and test indices of each split.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Labeled and unlabeled rows, in time order.
        y : array-like of shape (n_samples,)
            Labels, with the marker for unlabeled rows.
        groups : object
            Ignored, present for API consistency.

        Yields
        ------
        train : ndarray
            All rows that are more than `gap` rows before the first test row.
        test : ndarray
            Labeled rows.

        Raises
        ------
        ValueError
            If `y` is missing, there are too few labels, or a training part has none.
        """
        if groups is not None:
            warnings.warn("The groups parameter is ignored by LabeledTimeSeriesSplit", UserWarning, stacklevel=2)
        for train, test in super().split(X, y):
            yield train[train < test[0] - self.gap], test

    def _iter_test_indices(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[NDArray[np.intp]]:
        self._check_y_given(y)
        labeled = np.flatnonzero(is_labeled(y, self.unlabeled_value))
        tests = self._tests(labeled, len(y))
        if labeled[0] >= tests[0][0] - self.gap:
            raise ValueError(
                f"LabeledTimeSeriesSplit(gap={self.gap}) leaves no labeled row to train on before the first test row, "
                f"{tests[0][0]}: the first labeled row is {labeled[0]}. Use a smaller gap, fewer splits, or a smaller "
                "test_size."
            )
        yield from tests

    def _tests(self, labeled: NDArray[np.intp], n_samples: int) -> list[NDArray[np.intp]]:
        """Return the labeled rows of each test part; raise if there are too few."""
        needed = self.n_splits * (self.test_size or 1) + 1
        if len(labeled) < needed:
            raise ValueError(
                f"LabeledTimeSeriesSplit(n_splits={self.n_splits}, test_size={self.test_size}) needs at least {needed} "
                f"labeled rows, but y has {len(labeled)} among {n_samples} rows. Use fewer splits, a smaller "
                "test_size, label more rows, or use TimeSeriesSplit if there are no labels."
            )
        return [labeled[test] for _, test in TimeSeriesSplit(self.n_splits, test_size=self.test_size).split(labeled)]


def _group_indices(groups: Any, owner: str) -> NDArray[np.intp]:
    """Return an index of each row's group, in sorted order; raise unless every row has one."""
    if groups is None:
        raise ValueError(
            f"{owner} needs groups, with an entry per row, got None. Pass groups= to split, or to fit of a search; "
            "cross_validate takes groups=, or with metadata routing params={'groups': ...}. Without groups, use "
            "LabeledStratifiedKFold."
        )
    if len(np.shape(groups)) != 1:
        raise ValueError(f"groups must have one entry per row, got shape {np.shape(groups)}. Pass a single column.")
    column = as_column(groups)
    n_missing = int(is_missing(column).sum())
    if n_missing:
        raise ValueError(
            f"groups has {n_missing} missing among {len(column)} entries (None, NaN, NaT or pandas.NA), but {owner} "
            "needs a group for each row, labeled or not. Give a row that belongs to no other a value of its own."
        )
    try:
        return np.unique(column, return_inverse=True)[1]
    except TypeError as error:
        raise ValueError("groups mixes types that cannot be sorted. Convert it, as with groups.astype(str).") from error


def make_labeled_scorer(
    metric: str | Callable[..., Any] = "accuracy", *, unlabeled_value: Any = -1, **kwargs: Any
) -> Callable[..., Any]:
    """Make a scorer that scores the labeled rows and skips the others.

    Pass it as ``scoring=``, by itself or in a dict. ``scoring="accuracy"`` and other plain scorers count every
    prediction for an unlabeled row as wrong, since no classifier predicts the marker.

    Parameters
    ----------
    metric : str, metric function or scorer, default="accuracy"
        A name from :func:`sklearn.metrics.get_scorer_names`; a metric function ``metric(y_true, y_pred)``, such as
        :func:`~sklearn.metrics.f1_score`; or a scorer, either from :func:`~sklearn.metrics.make_scorer` or any callable
        ``scorer(estimator, X, y)`` (recognized by its three required arguments, or by a first one called `estimator`).
    unlabeled_value : int, float, str or None, default=-1
        Marks unlabeled rows in `y`, as None, NaN, NaT and pandas.NA always do. If None, every row is labeled.
    **kwargs : dict
        Only with a metric function: arguments of :func:`~sklearn.metrics.make_scorer` (``response_method``,
        ``greater_is_better``) and of the metric (such as ``average="macro"``).

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)`` returns the metric over the labeled rows; greater is better. Other arguments with
        one entry per row, such as ``sample_weight``, are restricted to the labeled rows too. It can be pickled if the
        metric can.

    Raises
    ------
    TypeError
        If `kwargs` are given with a name or a scorer, or if `metric` is neither a name nor callable.
    ValueError
        If the name is unknown. The scorer raises it if no row is labeled.

    See Also
    --------
    LabeledStratifiedKFold : Makes test folds of labeled rows only, so that every fold can be scored.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.metrics import f1_score
    >>> from sklearn.semi_supervised import LabelSpreading
    >>> from skdgm.datasets import mask_labels
    >>> from skdgm.model_selection import make_labeled_scorer
    >>> X, y = load_digits(return_X_y=True)
    >>> model = LabelSpreading(kernel="knn").fit(X[:1000], mask_labels(y[:1000], 100, random_state=0))
    >>> y_few = mask_labels(y[1000:], 200, random_state=0)
    >>> round(model.score(X[1000:], y_few), 2)  # 597 unlabeled rows count as wrong
    0.24
    >>> scorer = make_labeled_scorer(f1_score, average="macro")
    >>> round(float(scorer(model, X[1000:], y_few)), 2)
    0.95
    """
    scorer = _as_scorer(metric, kwargs)
    return _LabeledScorer(scorer, unlabeled_value, metric if isinstance(metric, str) else scorer_name(scorer))


class _LabeledScorer:
    """Scores only the labeled rows, with another scorer."""

    def __init__(self, scorer: Callable[..., Any], unlabeled_value: Any, name: str) -> None:
        self.__name__ = name  # displays of scikit-learn write it at an axis
        self._scorer = scorer
        self._unlabeled_value = unlabeled_value

    def __call__(self, estimator: Any, X: Any, y: Any, **kwargs: Any) -> Any:
        """Score the predictions of estimator for the labeled rows of X.

        Parameters
        ----------
        estimator : object
            A fitted estimator.
        X : array-like, sparse matrix, DataFrame, list or tensor of shape (n_samples, n_features)
            Rows to predict.
        y : array-like of shape (n_samples,)
            Labels, with the marker for unlabeled rows.
        **kwargs : dict
            Other arguments of the scorer; those with one entry per row are restricted to the labeled rows.

        Returns
        -------
        score : float
            The score over the labeled rows.
        """
        labeled, labels = labels_of(y, self._unlabeled_value)
        rows = np.flatnonzero(labeled)
        self._check_any(rows, len(labeled))
        kwargs = {name: _restrict(value, rows, len(labeled)) for name, value in kwargs.items()}
        scorer = with_labels(self._scorer, getattr(estimator, "classes_", None))
        return scorer(estimator, _take(X, rows), labels, **kwargs)

    def _check_any(self, rows: NDArray[np.intp], n_samples: int) -> None:
        if not len(rows):
            raise ValueError(
                f"y has no labeled row to score: all {n_samples} entries are {self._unlabeled_value!r} or missing. Use "
                "cv=skdgm.model_selection.LabeledStratifiedKFold(), whose test folds hold labeled rows only."
            )

    def __repr__(self) -> str:
        name = getattr(self._scorer, "__name__", None) or repr(self._scorer)
        marker = "" if self._unlabeled_value == -1 else f", unlabeled_value={self._unlabeled_value!r}"
        return f"make_labeled_scorer({name}{marker})"

    def set_score_request(self, **kwargs: Any) -> _LabeledScorer:
        """Set which metadata to request, as for the scorers of :func:`~sklearn.metrics.make_scorer`.

        Parameters
        ----------
        **kwargs : dict
            ``name=True``, False, None or an alias, for each argument of the metric.

        Returns
        -------
        self : object
            This scorer.
        """
        self._scorer.set_score_request(**kwargs)  # type: ignore[attr-defined]
        return self

    def get_metadata_routing(self) -> Any:
        """Return the metadata requests of the wrapped scorer.

        Returns
        -------
        routing : MetadataRequest or MetadataRouter
            The requests; empty if the wrapped scorer is a plain function.
        """
        return get_routing_for_object(self._scorer)

    def _accept_sample_weight(self) -> bool:
        # scikit-learn's searches call this before they pass sample_weight on.
        asked = getattr(self._scorer, "_accept_sample_weight", None)
        return bool(asked()) if asked else "sample_weight" in signature(self._scorer).parameters


def cross_val_predict_labeled(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = None,
    method: str = "predict",
    unlabeled_value: Any = -1,
    n_jobs: int | None = None,
    params: dict[str, Any] | None = None,
    return_indices: bool = False,
) -> Any:
    """Predict each labeled row with a model that was not trained on its label.

    :func:`~sklearn.model_selection.cross_val_predict` needs every row in a test fold, so it does not work with
    :class:`LabeledStratifiedKFold`. Unlabeled rows get no prediction here: it could not be compared with a label. If
    the result had their rows, marked as unlabeled, a metric would count each of them as right.

    Parameters
    ----------
    estimator : estimator
        Classifier to clone and fit, once per fold.
    X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
        Labeled and unlabeled rows.
    y : array-like of shape (n_samples,)
        Labels, with the marker for unlabeled rows.
    groups : array-like of shape (n_samples,), default=None
        Group of each row, for the splitter, with metadata routing or without. ``fit`` does not get it.
    cv : int, cross-validation splitter, iterable of splits, or None, default=None
        An integer is the number of folds of :class:`LabeledStratifiedKFold`, None is 5. Other splits must test each
        labeled row once; unlabeled rows in test folds are left out of both training and the result. With
        ``return_indices=True``, splits may leave labeled rows untested, as :class:`LabeledTimeSeriesSplit` does.
    method : {"predict", "predict_proba", "predict_log_proba", "decision_function"}, default="predict"
        Method of the estimator to call. Another method works as well if it returns one entry per row.
    unlabeled_value : int, float, str or None, default=-1
        Marks unlabeled rows in `y`, as None, NaN, NaT and pandas.NA always do. If None, every row is labeled.
    n_jobs : int or None, default=None
        Number of fits in parallel.
    params : dict or None, default=None
        Metadata for ``fit``, as in :func:`~sklearn.model_selection.cross_validate`.
    return_indices : bool, default=False
        Whether to return the indices of the predicted rows, too.

    Returns
    -------
    predictions : ndarray of shape (n_predicted,) or (n_predicted, n_classes)
        Results of `method` for the labeled rows, in the order in which these are in X. Columns are the sorted classes.
    indices : ndarray of shape (n_predicted,)
        Indices of these rows in X and y. Only if ``return_indices=True``.

    Raises
    ------
    ValueError
        If the splits test a labeled row more than once, or never without ``return_indices=True``; or as for the
        splitter.

    See Also
    --------
    LabeledStratifiedKFold : The splits by default.
    LabeledStratifiedGroupKFold : Splits that keep the rows of a group together.
    LabeledTimeSeriesSplit : Splits that predict later rows from earlier ones.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.metrics import accuracy_score
    >>> from sklearn.semi_supervised import LabelSpreading
    >>> from skdgm.datasets import mask_labels
    >>> from skdgm.model_selection import cross_val_predict_labeled
    >>> X, y = load_digits(return_X_y=True)
    >>> y_few = mask_labels(y, 100, random_state=0)
    >>> model = LabelSpreading(gamma=0.003)
    >>> predictions, indices = cross_val_predict_labeled(model, X, y_few, return_indices=True)
    >>> predictions.shape
    (100,)
    >>> round(accuracy_score(y_few[indices], predictions), 2)
    0.92
    """
    labeled = np.flatnonzero(is_labeled(y, unlabeled_value))
    splits, tests = _splits_of_labeled(_as_splitter(cv, unlabeled_value), X, y, groups, labeled)
    tested = np.sort(np.concatenate([labeled[:0], *tests]))
    _check_tested(tested, labeled, cv, may_lack=return_indices)
    fits = cross_validate(
        estimator,
        X,
        y,
        cv=splits,
        scoring=_no_score,
        n_jobs=n_jobs,
        params=params,
        return_estimator=True,
        error_score="raise",
    )
    parts = [getattr(model, method)(_take(X, test)) for model, test in zip(fits["estimator"], tests, strict=True)]
    if method in ("predict_proba", "predict_log_proba", "decision_function"):
        classes = [model.classes_ for model in fits["estimator"]]
        parts = _with_all_classes(parts, classes, labels_of(y, unlabeled_value)[1], method)
    predictions = np.concatenate(parts)[np.argsort(np.concatenate(tests))]
    return (predictions, tested) if return_indices else predictions


def _as_splitter(cv: Any, unlabeled_value: Any) -> Any:
    if cv is None or isinstance(cv, int | np.integer):
        return LabeledStratifiedKFold(5 if cv is None else int(cv), unlabeled_value=unlabeled_value)
    return check_cv(cv)


def _splits_of_labeled(
    cv: Any, X: Any, y: Any, groups: Any, labeled: NDArray[np.intp]
) -> tuple[list[tuple[Any, Any]], list[NDArray[np.intp]]]:
    """Return the splits that test labeled rows, and these rows for each of them."""
    rows = np.arange(len(y))
    tests = [(train, np.intersect1d(rows[test], labeled)) for train, test in cv.split(X, y, groups)]
    splits = [(train, test) for train, test in tests if len(test)]
    return splits, [test for _, test in splits]


def _check_tested(tested: NDArray[np.intp], labeled: NDArray[np.intp], cv: Any, *, may_lack: bool) -> None:
    """Raise unless each labeled row is tested once; with `may_lack`, some may be left out, but not all."""
    n_tests = np.bincount(np.searchsorted(labeled, tested), minlength=len(labeled))
    n_never, n_repeated = int((n_tests == 0).sum()), int((n_tests > 1).sum())
    if len(tested) and not n_repeated and (may_lack or not n_never):
        return
    raise ValueError(
        f"cross_val_predict_labeled needs splits that test each labeled row once, but of {len(labeled)} labeled "
        f"rows, cv={type(cv).__name__} tests {n_never} never, {n_repeated} more than once. Use LabeledStratifiedKFold, "
        "or another splitter into folds. With return_indices=True, rows may be left untested, as by "
        "LabeledTimeSeriesSplit."
    )


def _no_score(estimator: Any, X: Any, y: Any) -> float:
    return 0.0


def _with_all_classes(parts: list[Any], classes: list[Any], labels: NDArray[Any], method: str) -> list[Any]:
    """Add columns for the classes that a training fold lacks, with scikit-learn's values and its warning."""
    known = np.unique(np.concatenate([*classes, labels]))
    return [
        _enforce_prediction_order(np.searchsorted(known, some), part, len(known), method)
        for some, part in zip(classes, parts, strict=True)
    ]


def _as_scorer(metric: str | Callable[..., Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
    if not isinstance(metric, str) and not callable(metric):
        raise TypeError(f"metric must be a scorer's name, a metric function or a scorer, got {metric!r}.")
    if not isinstance(metric, str) and not _is_scorer(metric, kwargs):
        return make_scorer(metric, **kwargs)
    if kwargs:
        raise TypeError(
            f"{', '.join(kwargs)} can only be passed with a metric function, but metric={metric!r} is a scorer. Pass "
            "the function, such as sklearn.metrics.f1_score, or give the arguments to sklearn.metrics.make_scorer."
        )
    return get_scorer(metric)


def _is_scorer(metric: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether a callable is a scorer(estimator, X, y), not a metric(y_true, y_pred)."""
    if hasattr(metric, "get_metadata_routing"):
        return True
    try:
        parameters = signature(metric).parameters.values()
    except ValueError:  # a builtin without a signature
        return False
    positional = [p for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    required = [p.name for p in positional if p.default is Parameter.empty and p.name not in kwargs]
    return len(required) >= 3 or required[:1] == ["estimator"]


def _take(X: Any, rows: NDArray[np.intp]) -> Any:
    """Select rows of X by index; the container type stays the same."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if hasattr(X, "column_names"):  # a table of pyarrow, whose brackets choose columns
        return X.take(rows)
    (X,) = indexable(X)  # sparse formats without rows become CSR
    return X[rows] if hasattr(X, "shape") else [X[row] for row in rows]


def _restrict(value: Any, rows: NDArray[np.intp], n_samples: int) -> Any:
    """Select rows of a metadata value with one entry per row; return any other value unchanged."""
    return _take(value, rows) if _length(value) == n_samples else value


def _length(value: Any) -> int | None:
    if getattr(value, "shape", ()):
        return int(value.shape[0])
    return len(value) if isinstance(value, list | tuple) else None
