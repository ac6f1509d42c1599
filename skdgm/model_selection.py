"""Cross-validation and scores on labeled rows only; scikit-learn's own tools would treat -1 as another class."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import BaseCrossValidator, StratifiedKFold, check_cv, cross_validate
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import get_routing_for_object

from skdgm._labels import encode_labels, is_labeled, labels_of
from skdgm._sklearn_compat import _enforce_prediction_order, scorer_name, with_labels

__all__ = ["LabeledStratifiedKFold", "cross_val_predict_labeled", "make_labeled_scorer"]


class LabeledStratifiedKFold(BaseCrossValidator):
    """Stratified K-fold over the labeled rows, with all unlabeled rows in every training set.

    The labeled rows are split into test folds as :class:`~sklearn.model_selection.StratifiedKFold` would split them on
    their own. Unlabeled rows are never in a test fold, because they have no label to compare a prediction with.
    scikit-learn's own splitters treat the marker of unlabeled rows as another class, and a score then counts every
    prediction for such a row as wrong.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2. Each needs a labeled row to test on, so at least one class must have `n_splits`
        labeled rows.
    shuffle : bool, default=False
        Whether to shuffle each class before splitting it. If False, folds take the labeled rows in order.
    random_state : int, RandomState instance or None, default=None
        Seeds the shuffling; must be None if ``shuffle=False``. Pass an int for the same folds at every call.
    unlabeled_value : int, float, str or None, default=-1
        Marks unlabeled rows in `y`, as None, NaN, NaT and pandas.NA always do. If None, every row is labeled, and the
        folds are those of StratifiedKFold.

    See Also
    --------
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

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

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

    def _iter_test_indices(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[NDArray[np.intp]]:
        if groups is not None:
            warnings.warn("The groups parameter is ignored by LabeledStratifiedKFold", UserWarning, stacklevel=4)
        classes = self._class_indices(y)
        labeled = np.flatnonzero(classes >= 0)
        folds = StratifiedKFold(self.n_splits, shuffle=self.shuffle, random_state=self.random_state)
        for _, test in folds.split(labeled, classes[labeled]):
            yield labeled[test]

    def _class_indices(self, y: Any) -> NDArray[np.int64]:
        """Return class indices of y, -1 where unlabeled; raise if they cannot fill n_splits folds."""
        if y is None:
            raise ValueError("LabeledStratifiedKFold needs y to tell labeled rows, got None. Use KFold without labels.")
        _, indices = encode_labels(y, self.unlabeled_value, owner="LabeledStratifiedKFold", require_labeled=False)
        largest = np.bincount(indices + 1)[1:].max(initial=0)
        if largest < self.n_splits:
            raise ValueError(
                f"LabeledStratifiedKFold(n_splits={self.n_splits}) needs a class with at least {self.n_splits} labeled "
                f"rows, but y has {(indices >= 0).sum()} labeled among {len(indices)} rows, at most {largest} in a "
                "class. Use fewer splits, label more rows, or use KFold if there are no labels."
            )
        return indices


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
    cv : int, cross-validation splitter, iterable of splits, or None, default=None
        An integer is the number of folds of :class:`LabeledStratifiedKFold`, None is 5. Other splits must test each
        labeled row once; unlabeled rows in test folds are left out of both training and the result.
    method : {"predict", "predict_proba", "predict_log_proba", "decision_function"}, default="predict"
        Method of the estimator to call. Another method works as well if it returns one entry per row.
    unlabeled_value : int, float, str or None, default=-1
        Marks unlabeled rows in `y`, as None, NaN, NaT and pandas.NA always do. If None, every row is labeled.
    n_jobs : int or None, default=None
        Number of fits in parallel.
    params : dict or None, default=None
        Metadata for ``fit``, as in :func:`~sklearn.model_selection.cross_validate`.
    return_indices : bool, default=False
        Whether to return the indices of the labeled rows, too.

    Returns
    -------
    predictions : ndarray of shape (n_labeled,) or (n_labeled, n_classes)
        Results of `method` for the labeled rows, in the order in which these are in X. Columns are the sorted classes.
    indices : ndarray of shape (n_labeled,)
        Indices of these rows in X and y. Only if ``return_indices=True``.

    Raises
    ------
    ValueError
        If the splits do not test each labeled row exactly once, or as for the splitter.

    See Also
    --------
    LabeledStratifiedKFold : The splits.

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
    splits, tests = _splits_of_labeled(cv, X, y, labeled, unlabeled_value)
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
        parts = _with_all_classes(parts, [model.classes_ for model in fits["estimator"]], method)
    predictions = np.concatenate(parts)[np.argsort(np.concatenate(tests))]
    return (predictions, labeled) if return_indices else predictions


def _splits_of_labeled(
    cv: Any, X: Any, y: Any, labeled: NDArray[np.intp], unlabeled_value: Any
) -> tuple[list[tuple[Any, Any]], list[NDArray[np.intp]]]:
    """Return the splits, and the labeled rows of their test folds; raise unless each labeled row is in one fold."""
    if cv is None or isinstance(cv, int | np.integer):
        cv = LabeledStratifiedKFold(5 if cv is None else int(cv), unlabeled_value=unlabeled_value)
    splits, rows = list(check_cv(cv).split(X, y)), np.arange(len(y))
    tests = [np.intersect1d(rows[test], labeled) for _, test in splits]
    n_tests = np.bincount(np.searchsorted(labeled, np.concatenate(tests)), minlength=len(labeled))
    if not len(labeled) or (n_tests != 1).any():
        raise ValueError(
            f"cross_val_predict_labeled needs splits that test each labeled row once, but of {len(labeled)} labeled "
            f"rows, cv={type(cv).__name__} tests {(n_tests == 0).sum()} never, {(n_tests > 1).sum()} more than once. "
            "Use LabeledStratifiedKFold, or another splitter into folds."
        )
    splits = [(train, test) for (train, _), test in zip(splits, tests, strict=True) if len(test)]
    return splits, [test for test in tests if len(test)]


def _no_score(estimator: Any, X: Any, y: Any) -> float:
    return 0.0


def _with_all_classes(parts: list[Any], classes: list[Any], method: str) -> list[Any]:
    """Add columns for the classes that a training fold lacks, with scikit-learn's values and its warning."""
    known = np.unique(np.concatenate(classes))
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
    (X,) = indexable(X)  # sparse formats without rows become CSR
    return X[rows] if hasattr(X, "shape") else [X[row] for row in rows]


def _restrict(value: Any, rows: NDArray[np.intp], n_samples: int) -> Any:
    """Select rows of a metadata value with one entry per row; return any other value unchanged."""
    return _take(value, rows) if _length(value) == n_samples else value


def _length(value: Any) -> int | None:
    if getattr(value, "shape", ()):
        return int(value.shape[0])
    return len(value) if isinstance(value, list | tuple) else None
