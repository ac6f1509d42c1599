"""Cross-validation and scores on labeled rows only; scikit-learn's own tools would treat -1 as another class."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import BaseCrossValidator, StratifiedKFold
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import get_routing_for_object

from skdgm._labels import encode_labels, labels_of
from skdgm._sklearn_compat import with_labels

__all__ = ["LabeledStratifiedKFold", "make_labeled_scorer"]


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
    return _LabeledScorer(_as_scorer(metric, kwargs), unlabeled_value)


class _LabeledScorer:
    """Scores only the labeled rows, with another scorer."""

    def __init__(self, scorer: Callable[..., Any], unlabeled_value: Any) -> None:
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
