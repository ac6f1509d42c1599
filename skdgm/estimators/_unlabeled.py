"""Estimators inside other estimators: which of them learn from unlabeled rows, and how they get these rows.

Most meta-estimators of scikit-learn read the marker of unlabeled rows as one more class. They are therefore fitted to
the labeled rows, and their members, wrapped in ``WithUnlabeledRows``, add the unlabeled rows in their own ``fit``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary
from zlib import crc32

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import has_fit_parameter

from skdgm._sklearn_compat import _safe_indexing
from skdgm.estimators._weights import by_class_index

READ_UNLABELED = (LabelPropagation, LabelSpreading, SelfTrainingClassifier)
UNLABELED = -1  # the only marker that all of these read; labels are then class indices
MARKER = "unlabeled_value"  # the parameter of those that can read another one
BY_LABEL = ("class_weight", "class_prior")  # parameters that may be dicts by label
GRIDS = ("param_grid", "param_distributions")  # of scikit-learn's searches

# --- which estimators learn from unlabeled rows ----------------------------------------------------------------------


def reads_unlabeled(estimator: Any) -> bool:
    """Tell whether ``fit`` of an estimator, or of the last step of a pipeline, reads rows marked as unlabeled.

    A FrozenEstimator does not: it learns nothing, and predicts the labels to which it was fitted.
    """
    last = steps_of(estimator)[-1]
    if isinstance(last, FrozenEstimator):
        return False
    return isinstance(last, READ_UNLABELED) or getattr(last, MARKER, None) is not None


def has_reader(estimator: Any) -> bool:
    """Tell whether an estimator, or a member of it at any depth, reads rows marked as unlabeled."""
    return reads_unlabeled(estimator) or any(has_reader(member) for member in members_of(estimator))


def steps_of(estimator: Any) -> list[Any]:
    """Return the steps of a pipeline, also of one that is its last step; of any other estimator itself."""
    if not isinstance(estimator, Pipeline):
        return [estimator]
    *steps, last = [step for _, step in estimator.steps]
    return [*(step for step in steps if step not in (None, "passthrough")), *steps_of(last)]


def members_of(estimator: Any) -> list[Any]:
    """Return the estimators that another one fits to rows of its own X, or puts in their place (searches)."""
    if isinstance(estimator, Pipeline):
        return [estimator.steps[-1][1]]
    if isinstance(estimator, type | FrozenEstimator) or not hasattr(estimator, "get_params"):
        return []
    params = estimator.get_params(deep=False)
    members = [params.get("estimator"), *(member for _, member in _named(params)), *_searched(params)]
    return [member for member in members if hasattr(member, "fit")]


def _named(params: dict[str, Any]) -> list[Any]:
    """Return the pairs of name and estimator in the parameter ``estimators``."""
    named = params.get("estimators")
    pairs = named if isinstance(named, list | tuple) else []
    return list(pairs) if all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs) else []


def _searched(params: dict[str, Any]) -> list[Any]:
    """Return all values of the lists in the grids of a search."""
    grids: Any = next((params[name] for name in GRIDS if name in params), [])
    lists = [values for grid in ([grids] if isinstance(grids, dict) else grids) for values in grid.values()]
    return [value for values in lists if isinstance(values, list | tuple | np.ndarray) for value in values]


# --- fit with unlabeled rows -----------------------------------------------------------------------------------------


def marked(estimator: Any, classes: np.ndarray) -> Any:
    """Prepare an estimator that reads unlabeled rows for class indices and the marker -1; return it, changed.

    Its parameters by label, and those of estimators inside it, become parameters by class index.

    Raises
    ------
    ValueError
        If a step of the pipeline before the last would read the marker as a class.
    """
    *steps, last = steps_of(estimator)
    for part in (part for step in steps for part in parts_of(step)):
        if _learns_labels(part):
            raise ValueError(
                f"the pipeline gets unlabeled rows for its last step {type(last).__name__}, but its step "
                f"{type(part).__name__} would read their marker as a class. Fit that step to the labeled rows and pass "
                "it as FrozenEstimator, or use a step that does not read y."
            )
    _set_markers(estimator)
    by_label = {name: of for name, of in estimator.get_params().items() if name.rpartition("__")[2] in BY_LABEL}
    return estimator.set_params(**{name: by_class_index(of, classes) for name, of in by_label.items()})


def parts_of(step: Any) -> list[Any]:
    """Return what gets y in the ``fit`` of a step: the members of pipelines, unions, and column transformers."""
    if isinstance(step, Pipeline):
        members = [member for _, member in step.steps]
    elif isinstance(step, FeatureUnion):
        members = [member for _, member in step.transformer_list]
    elif isinstance(step, ColumnTransformer):
        members = [*(member for _, member, _ in step.transformers), step.remainder]
    else:
        return [step]
    return [part for member in members if hasattr(member, "fit") for part in parts_of(member)]


def _set_markers(estimator: Any) -> None:
    """Let all estimators inside another one know the marker -1; None stays, with which they read no marker."""
    markers = {name: value for name, value in estimator.get_params().items() if name.rpartition("__")[2] == MARKER}
    estimator.set_params(**{name: UNLABELED for name, value in markers.items() if value is not None})


def _learns_labels(step: Any) -> bool:
    """Tell whether a transformer reads y. Tags tell of few of them: those that select columns do not need y."""
    if isinstance(step, FrozenEstimator | VarianceThreshold) or reads_unlabeled(step):
        return False
    return isinstance(step, SelectorMixin) or get_tags(step).target_tags.required


def check_classes(estimator: Any, n_classes: int) -> None:
    """Raise an error if an estimator that was fitted to class indices and the marker -1 found other classes."""
    found = getattr(estimator, "classes_", None)
    if found is None or np.array_equal(found, np.arange(n_classes)):
        return
    name, found = type(steps_of(estimator)[-1]).__name__, np.asarray(found).tolist()
    if UNLABELED in found:
        raise ValueError(
            f"{name} read the marker {UNLABELED} of unlabeled rows as a class: its classes_ are {found}. Only "
            "estimators that learn from unlabeled rows can get them, such as those of sklearn.semi_supervised; fit any "
            "other to the labeled rows."
        )
    raise ValueError(
        f"{name} was fitted to labels encoded as 0 to {n_classes - 1}, but its classes_ are {found}. If it has a "
        "parameter that names classes, such as class_prior, name these integers and no others."
    )


def with_unlabeled_rows(estimator: Any, unlabeled: UnlabeledRows) -> Any:
    """Let the members of a meta-estimator learn from unlabeled rows, too; return the meta-estimator, changed.

    Members without a use for unlabeled rows stay as they are, and so does a ``final_estimator``: it gets the
    predictions of other members instead of X.
    """
    if not has_reader(estimator):
        return estimator
    _set_markers(estimator)  # also in a final estimator, whose labels a stack encodes
    if isinstance(estimator, Pipeline):
        _check_keeps_rows(estimator)
        name, last = estimator.steps[-1]
        return estimator.set_params(**{name: wrapped(last, unlabeled)})
    params = estimator.get_params(deep=False)
    if isinstance(params.get("cv"), str) and params["cv"] == "prefit":
        raise ValueError(
            f'{type(estimator).__name__} with cv="prefit" would not fit its members. Pass those that are fitted as '
            "FrozenEstimator, with another cv."
        )
    changed: dict[str, Any] = {}
    if any(has_reader(value) for value in (params.get("estimator"), *_searched(params))):
        changed["estimator"] = wrapped(params["estimator"], unlabeled)
    if any(has_reader(member) for _, member in _named(params)):
        changed["estimators"] = [
            (name, wrapped(member, unlabeled) if has_reader(member) else member) for name, member in _named(params)
        ]
    return estimator.set_params(**changed)


def wrapped(member: Any, unlabeled: UnlabeledRows) -> WithUnlabeledRows:
    """Wrap a member of a meta-estimator, in a class whose ``fit`` takes weights if that of the member does."""
    takes_weights = has_fit_parameter(member, "sample_weight")
    return (WithWeightsAndUnlabeledRows if takes_weights else WithUnlabeledRows)(member, unlabeled)


def _check_keeps_rows(pipeline: Pipeline) -> None:
    *steps, last = steps_of(pipeline)
    if steps:
        name, before = type(last).__name__, ", ".join(type(step).__name__ for step in steps)
        raise ValueError(
            f"the estimators in {name} learn from unlabeled rows, but these do not pass through {before}, which the "
            f"pipeline has before {name}. Put these steps into {name}, before the estimators in it, or let the "
            f"pipeline end in SemiSupervisedMetaClassifier({name}(...))."
        )


class UnlabeledRows:
    """The unlabeled rows during one ``fit``, shared by all copies and clones; a context manager that forgets them.

    Parameters
    ----------
    rows : array, sparse matrix or frame of shape (n_unlabeled, n_features)
    labeled_rows : array, sparse matrix or frame of shape (n_labeled, n_features)
        Rows to which the meta-estimator is fitted. Its members may get any selection of them.
    metadata : dict
        Metadata of the unlabeled rows by name, with one entry per row.
    labeled_weight : array-like of shape (n_labeled,) or None
        The ``sample_weight`` of the labeled rows. A meta-estimator may give its members weights of another scale.
    """

    def __init__(
        self, rows: Any, labeled_rows: Any, metadata: dict[str, Any] | None = None, labeled_weight: Any = None
    ) -> None:
        weight = np.ones(1) if labeled_weight is None else np.asarray(labeled_weight)
        self._keep(uuid4().hex, rows, checksums(labeled_rows), metadata or {}, weight)

    def _keep(self, key: str, rows: Any, known: set[int], metadata: dict[str, Any], weight: np.ndarray) -> None:
        self._key, self._rows, self._known, self._metadata, self._weight = key, rows, known, metadata, weight
        IN_USE[key] = self

    def __enter__(self) -> UnlabeledRows:
        return self

    def __exit__(self, *exception: object) -> None:
        self._rows, self._known, self._metadata, self._weight = None, set(), {}, np.ones(1)

    def append_to(
        self, X: Any, targets: np.ndarray, params: dict[str, Any], owner: str
    ) -> tuple[Any, np.ndarray, dict[str, Any]]:
        """Append the unlabeled rows to X, their marker to class indices, and their metadata to that of X.

        Raises
        ------
        RuntimeError
            If the rows were forgotten.
        ValueError
            If X does not consist of rows of the table to which the unlabeled rows belong, or has metadata that is not
            known of the unlabeled rows.
        """
        if self._rows is None:
            raise RuntimeError(
                f"{owner} was part of a SemiSupervisedMetaClassifier or M1Classifier, whose unlabeled rows were known "
                "during its fit only. Fit that estimator again."
            )
        self._check_same_table(X, owner)
        n_rows, n_more = X.shape[0], self._rows.shape[0]
        longer = {name: self._extended(name, value, n_rows, owner) for name, value in params.items()}
        return stacked(X, self._rows), np.concatenate([targets, np.full(n_more, UNLABELED)]), longer

    def comparable(self, weight: Any) -> np.ndarray:
        """Weights that a meta-estimator gives to its rows, on the scale of those of the unlabeled rows."""
        if np.isin(weight, self._weight).all():
            return np.asarray(weight)
        return np.multiply(weight, self._weight.mean() / np.mean(weight))  # made by it, as AdaBoostClassifier does

    def _extended(self, name: str, value: Any, n_rows: int, owner: str) -> Any:
        if not _per_row(value, n_rows):
            return value
        if name == "sample_weight":
            more = self._metadata.get(name, np.ones(self._rows.shape[0]))
            return np.concatenate([value, more])
        if name not in self._metadata:
            raise ValueError(
                f"{owner} got {name} for its labeled rows only, and needs it for the unlabeled rows as well. Pass it "
                "for all rows to the outermost fit."
            )
        return np.concatenate([np.asarray(value), np.asarray(self._metadata[name])])

    def _check_same_table(self, X: Any, owner: str) -> None:
        """Raise an error if a meta-estimator changed rows or columns: the unlabeled rows would not match X."""
        if X.shape[1] == self._rows.shape[1] and checksums(X) <= self._known:
            return
        raise ValueError(
            f"{owner} should learn from unlabeled rows, but gets labeled rows with other columns than these or with "
            f"other values: {X.shape[1]} columns, the unlabeled rows have {self._rows.shape[1]}. For BaggingClassifier "
            "use max_features=1.0 and bootstrap_features=False; for members on some of the columns use a "
            f"VotingClassifier of pipelines, each with a ColumnTransformer before {owner}. Transform X inside of the "
            f"pipeline that ends in {owner}, not around it."
        )

    def __sklearn_clone__(self) -> UnlabeledRows:
        return self

    def __deepcopy__(self, memo: Any) -> UnlabeledRows:
        return self

    def __reduce__(self) -> Any:
        return _restored, (self._key, self._rows, self._known, self._metadata, self._weight)


# By key, so that what returns from another process shares, and forgets, the rows of this process.
IN_USE: WeakValueDictionary[str, UnlabeledRows] = WeakValueDictionary()


def _restored(key: str, *state: Any) -> UnlabeledRows:
    unlabeled = IN_USE.get(key)
    if unlabeled is None:
        unlabeled = UnlabeledRows.__new__(UnlabeledRows)
        unlabeled._keep(key, *state)
    return unlabeled


def inner_has(method: str) -> Any:
    """Return the condition for a method that only some inner estimators have."""

    def check(self: Any) -> bool:
        getattr(vars(self).get("estimator_", self.estimator), method)
        return True

    return check


class WithUnlabeledRows(BaseEstimator):
    """A member of a meta-estimator that learns from unlabeled rows in addition to the rows that it gets.

    It has the parameters of the member, so that searches find them under their names. Members of the member are treated
    in the same way. What ``fit`` gets is labeled, with labels of any kind, as the meta-estimator encodes them.

    Parameters
    ----------
    estimator : estimator
        The member; it is cloned.
    unlabeled : UnlabeledRows
    """

    def __init__(self, estimator, unlabeled):
        self.estimator = estimator
        self.unlabeled = unlabeled

    def get_params(self, deep=True):
        """Return the parameters of the member."""
        return self.estimator.get_params(deep=deep)

    def set_params(self, **params):
        """Set parameters of the member."""
        self.estimator.set_params(**params)
        return self

    def __sklearn_clone__(self) -> WithUnlabeledRows:
        return type(self)(clone(self.estimator), self.unlabeled)

    def __repr__(self, N_CHAR_MAX=700):
        return f"{type(self).__name__}({self.estimator.__repr__(N_CHAR_MAX)})"

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)

    def get_metadata_routing(self):
        """Return the routing of metadata: ``fit`` passes it to the ``fit`` of the member."""
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    def fit(self, X, y, **params):
        """Fit the member to labeled rows and to the unlabeled rows."""
        estimator = clone(self.estimator)
        self._uses_indices = reads_unlabeled(estimator)
        if self._uses_indices:
            classes, targets = np.unique(np.asarray(y), return_inverse=True)
            owner = type(steps_of(estimator)[-1]).__name__
            X, y, params = self.unlabeled.append_to(X, targets, params, owner)
            estimator = marked(estimator, classes)
        else:
            estimator = with_unlabeled_rows(estimator, self.unlabeled)
        is_routed = params and get_config()["enable_metadata_routing"]
        routed = process_routing(self, "fit", **params).estimator.fit if is_routed else params
        self.estimator_ = estimator.fit(X, y, **routed)
        if self._uses_indices:
            check_classes(self.estimator_, len(classes))
        self.classes_ = classes if self._uses_indices else self.estimator_.classes_
        return self

    def predict(self, X):
        """Predict the class of each row."""
        predicted = self.estimator_.predict(X)
        return self.classes_[predicted] if self._uses_indices else predicted

    @available_if(inner_has("predict_proba"))
    def predict_proba(self, X):
        """Predict class probabilities."""
        return self.estimator_.predict_proba(X)

    @available_if(inner_has("predict_log_proba"))
    def predict_log_proba(self, X):
        """Logarithm of ``predict_proba``."""
        return self.estimator_.predict_log_proba(X)

    @available_if(inner_has("decision_function"))
    def decision_function(self, X):
        """Evaluate the decision function."""
        return self.estimator_.decision_function(X)

    @available_if(inner_has("transform"))
    def transform(self, X):
        """Transform X."""
        return self.estimator_.transform(X)

    def score(self, X, y, sample_weight=None) -> float:
        """Compute the accuracy; of a search, its own score."""
        if self._uses_indices:
            return accuracy_score(y, self.predict(X), sample_weight=sample_weight)
        return self.estimator_.score(X, y, **({} if sample_weight is None else {"sample_weight": sample_weight}))

    @property
    def n_features_in_(self):
        """Number of columns of X in ``fit``."""
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the columns of X."""
        return self.estimator_.feature_names_in_


class WithWeightsAndUnlabeledRows(WithUnlabeledRows):
    """The same for a member whose ``fit`` takes weights.

    Ensembles look for ``sample_weight`` in the signature to find out.
    """

    def fit(self, X, y, sample_weight=None, **params):
        """Fit the member to the labeled rows of positive weight and to the unlabeled rows."""
        if sample_weight is None:
            return super().fit(X, y, **params)
        weight = self.unlabeled.comparable(sample_weight)
        kept = np.flatnonzero(weight)
        params = select_rows({**params, "sample_weight": weight}, kept, len(y))
        return super().fit(_safe_indexing(X, kept), _safe_indexing(y, kept), **params)


# --- rows ------------------------------------------------------------------------------------------------------------


def stacked(first: Any, second: Any) -> Any:
    """Append rows to an array, sparse matrix or frame; an array stays an array even if the other is a frame."""
    if sparse.issparse(first):
        return sparse.vstack([first, second], format="csr")
    if not hasattr(first, "columns") or not hasattr(second, "columns"):
        return np.concatenate([np.asarray(first), np.asarray(second)])
    library = import_module(type(first).__module__.partition(".")[0])  # pandas, polars, pyarrow
    rows = getattr(library, "concat_tables" if hasattr(first, "column_names") else "concat")([first, second])
    return rows.reset_index(drop=True) if hasattr(rows, "reset_index") else rows


def checksums(X: Any) -> set[int]:
    """Return the checksum of each row, which is the same for numbers of single and double precision."""
    if sparse.issparse(X):
        matrix = sparse.csr_array(X, dtype=np.float32, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        cells = np.rec.fromarrays([matrix.indices.astype(np.int64), matrix.data])
        return {crc32(row.tobytes()) for row in np.split(cells, matrix.indptr[1:-1])}
    try:
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(X, dtype=np.float32)
    except (TypeError, ValueError):
        return {checksum_of_objects(row) for row in np.asarray(X, dtype=object)}
    return {crc32(row) for row in values}


def checksum_of_objects(row: np.ndarray) -> int:
    """Return the checksum of a row of objects: that of numbers if all of them are."""
    try:
        with np.errstate(over="ignore"):
            return crc32(np.asarray(row, dtype=np.float32).tobytes())
    except (TypeError, ValueError):
        return crc32(repr(row.tolist()).encode())


def select_rows(params: dict[str, Any], indices: np.ndarray, n_rows: int) -> dict[str, Any]:
    """Select metadata for the rows at ``indices`` from entries with one value per row; keep other entries."""
    return {name: np.asarray(value)[indices] if _per_row(value, n_rows) else value for name, value in params.items()}


def _per_row(value: Any, n_rows: int) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, dict)) and len(value) == n_rows
