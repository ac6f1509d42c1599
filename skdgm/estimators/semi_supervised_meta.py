"""Meta-estimators of scikit-learn on rows of which only some are labeled."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn import get_config
from sklearn.base import ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skdgm._labels import encode_labels
from skdgm._sklearn_compat import HasMethods, _fit_context, _safe_indexing, validate_data
from skdgm.distributed._processes import together
from skdgm.estimators._arrays import as_host_array, tensor_in_tensor_out
from skdgm.estimators._callbacks import unchanged_on_error
from skdgm.estimators._classifier import check_y_given, score_labeled
from skdgm.estimators._frames import as_table_or_stream
from skdgm.estimators._shards import refuse
from skdgm.estimators._state import VersionedState, check_same_classes
from skdgm.estimators._unlabeled import UnlabeledRows, WithUnlabeledRows, inner_has, reads_unlabeled, select_rows


class SemiSupervisedMetaClassifier(ClassifierMixin, MetaEstimatorMixin, VersionedState):
    """Voting, stacking, bagging, one-vs-rest, calibration or a search with estimators that learn from unlabeled rows.

    scikit-learn's meta-estimators read the marker of unlabeled rows as one more class, and most of them encode labels,
    so that a member sees the marker as class 0: accuracy falls without an error. Here, the meta-estimator is fitted to
    the labeled rows only, and each member that can learn from unlabeled rows gets all of them in addition to the
    labeled rows that the meta-estimator gives it. Folds of an inner cross-validation therefore consist of labeled rows.

    Parameters
    ----------
    estimator : classifier
        The meta-estimator, for instance ``VotingClassifier``, ``StackingClassifier``, ``BaggingClassifier``,
        ``OneVsRestClassifier``, ``OneVsOneClassifier``, ``CalibratedClassifierCV`` or ``GridSearchCV``; it is cloned.
        Any other classifier is possible, too.

        Its members are its parameters ``estimator`` and ``estimators``, and theirs in turn. A member gets the unlabeled
        rows if it is from ``sklearn.semi_supervised``, has a parameter ``unlabeled_value``, or is a pipeline that ends
        in such an estimator; the steps of the pipeline see all these rows. Other members learn from labeled rows, and
        so does the ``final_estimator`` of a stack. A ``FrozenEstimator`` stays as it is.

    unlabeled_value : int, float, str or None, default=-1
        Label that marks a row as unlabeled. None, NaN, NaT, and pandas.NA in y mark unlabeled rows as well. If this
        parameter is None, every row must be labeled.

        Members may have another ``unlabeled_value``, except None, with which they learn from labeled rows only.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted, without the marker of unlabeled rows.
    estimator_ : classifier
        The fitted inner estimator.

        A member that got unlabeled rows is wrapped; the fitted member is the attribute ``estimator_`` of the wrapper,
        and its labels are integers from 0 in the order of the wrapper's ``classes_``.
    n_features_in_ : int
        Number of columns of X in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the columns of X. Only there if all of them are strings.

    See Also
    --------
    M1Classifier : Any classifier, with or without a use for unlabeled rows, on the latent codes of all rows.
    skdgm.model_selection.LabeledStratifiedKFold : Cross-validation of this estimator.

    Notes
    -----
    A cross-validation inside of ``estimator`` splits labeled rows only, so its ``cv`` may be any splitter, and its
    ``scoring`` any scorer. Given splits are indices among the labeled rows.

    One-vs-rest and one-vs-one train a member on two classes, or two groups of them. In one-vs-one, most unlabeled rows
    belong to neither of the two classes, which can mislead a semi-supervised member.

    Members get labels as integers from 0, so a parameter that names classes, such as a dict for ``class_prior``, must
    name these integers. Unlabeled rows are not kept after ``fit``.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import BaggingClassifier
    >>> from sklearn.semi_supervised import LabelSpreading
    >>> from skdgm import SemiSupervisedMetaClassifier
    >>> from skdgm.datasets import mask_labels
    >>> X, y = load_digits(return_X_y=True)
    >>> y_few = mask_labels(y[:1000], 50, random_state=0)
    >>> bagging = BaggingClassifier(LabelSpreading(gamma=0.003), random_state=0)
    >>> round(bagging.fit(X[:1000], y_few).score(X[1000:], y[1000:]), 2)  # -1 is read as a class
    0.0
    >>> model = SemiSupervisedMetaClassifier(bagging).fit(X[:1000], y_few)
    >>> round(model.score(X[1000:], y[1000:]), 2)
    0.9
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods("fit")],  # not predict: a StackingClassifier has it only once it is fitted
        "unlabeled_value": [Integral, Real, str, None],
    }

    _needed_when_fitted = ("estimator_", "classes_", "n_features_in_")

    def __init__(self, estimator, *, unlabeled_value=-1) -> None:
        self.estimator = estimator
        self.unlabeled_value = unlabeled_value

    def _check_state(self) -> None:
        check_same_classes(self, self.estimator_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags.sparse, tags.input_tags.allow_nan = inner.input_tags.sparse, inner.input_tags.allow_nan
        tags.transformer_tags = inner.transformer_tags
        return tags

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, **fit_params):
        """Fit the inner estimator to the labeled rows, and its semi-supervised members also to the unlabeled rows.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or torch.Tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels; ``unlabeled_value``, None, NaN, NaT, and pandas.NA mark unlabeled rows.
        **fit_params : dict
            Metadata for the ``fit`` of the inner estimator, such as ``sample_weight``. With
            ``enable_metadata_routing=True`` they are routed, otherwise passed on as they are. Arrays with one entry per
            row of X are split like X.

        Returns
        -------
        SemiSupervisedMetaClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            As for the ``fit`` of the inner estimator; also if y has no label or a type that cannot hold the marker, if
            the inner estimator gives a member other columns than those of X (``BaggingClassifier`` with
            ``max_features`` below 1, a pipeline around a meta-estimator), or if a step of a member reads y. The
            estimator is then left unchanged.
        """
        with unchanged_on_error(self), together(self):
            refuse(self, "fit")
            fit_params = {name: value for name, value in fit_params.items() if value is not None}
            if fit_params and get_config()["enable_metadata_routing"]:
                fit_params = process_routing(self, "fit", **fit_params).estimator.fit
            return self._fit(X, y, fit_params)

    def _fit(self, X: Any, y: Any, params: dict[str, Any]) -> SemiSupervisedMetaClassifier:
        check_y_given(self, y)
        rows = self._read(X, reset=True)
        self.classes_, targets = encode_labels(as_host_array(y), self.unlabeled_value, owner=type(self).__name__)
        check_consistent_length(rows, targets)
        (labeled, X, params), (_, X_unlabeled, metadata) = self._split(rows, targets, params)
        with UnlabeledRows(X_unlabeled, X, metadata, params.get("sample_weight")) as unlabeled:
            fitted = WithUnlabeledRows(self.estimator, unlabeled).fit(X, self.classes_[targets[labeled]], **params)
        self.estimator_ = fitted if reads_unlabeled(self.estimator) else fitted.estimator_
        return self

    def _read(self, X: Any, *, reset: bool) -> Any:
        """Set or check the columns; convert what is neither a frame nor a sparse matrix to an array."""
        if hasattr(X, "columns"):
            return validate_data(self, X, reset=reset, skip_check_array=True)
        X = as_table_or_stream(as_host_array(X), type(self).__name__)
        return validate_data(self, X, reset=reset, accept_sparse="csr", dtype=None, ensure_all_finite=False)

    def _fitted_and_rows(self, X: Any) -> tuple[Any, Any]:
        check_is_fitted(self, "estimator_")
        return self.estimator_, self._read(X, reset=False)

    def _split(self, rows: Any, targets: np.ndarray, params: dict[str, Any]) -> list[tuple[np.ndarray, Any, Any]]:
        """Return indices, rows and metadata of the labeled and of the unlabeled rows."""
        parts = np.flatnonzero(targets >= 0), np.flatnonzero(targets < 0)
        return [(part, _safe_indexing(rows, part), select_rows(params, part, len(targets))) for part in parts]

    @tensor_in_tensor_out
    def predict(self, X):
        """Predict the class of each row.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        estimator, rows = self._fitted_and_rows(X)
        return estimator.predict(rows)

    @available_if(inner_has("predict_proba"))
    @tensor_in_tensor_out
    def predict_proba(self, X):
        """Predict class probabilities with the inner estimator.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        estimator, rows = self._fitted_and_rows(X)
        return estimator.predict_proba(rows)

    @available_if(inner_has("predict_log_proba"))
    @tensor_in_tensor_out
    def predict_log_proba(self, X):
        """Logarithm of ``predict_proba``.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        estimator, rows = self._fitted_and_rows(X)
        return estimator.predict_log_proba(rows)

    @available_if(inner_has("decision_function"))
    @tensor_in_tensor_out
    def decision_function(self, X):
        """Evaluate the decision function of the inner estimator.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        estimator, rows = self._fitted_and_rows(X)
        return estimator.decision_function(rows)

    @available_if(inner_has("transform"))
    @tensor_in_tensor_out
    def transform(self, X):
        """Transform rows with the inner estimator; of voting and stacking, these are the predictions of the members.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
        """
        estimator, rows = self._fitted_and_rows(X)
        return estimator.transform(rows)

    @available_if(inner_has("transform"))
    def fit_transform(self, X, y, **fit_params):
        """Fit, and transform the same rows.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or torch.Tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels, as in ``fit``.
        **fit_params : dict
            Metadata, as in ``fit``.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
        """
        return self.fit(X, y, **fit_params).transform(X)

    @available_if(inner_has("get_feature_names_out"))
    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns that ``transform`` returns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of X; None is those of ``fit``.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "estimator_")
        return self.estimator_.get_feature_names_out(input_features)

    @available_if(inner_has("set_output"))
    def set_output(self, *, transform=None):
        """Set the type of what ``transform`` returns, in the inner estimator.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            None leaves it as it is.

        Returns
        -------
        self : SemiSupervisedMetaClassifier
            This estimator.
        """
        for estimator in (self.estimator, vars(self).get("estimator_", self.estimator)):
            estimator.set_output(transform=transform)
        return self

    def score(self, X, y, sample_weight=None) -> float:
        """Compute the accuracy over the labeled rows of y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels; unlabeled rows are ignored.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If no row is labeled. Use LabeledStratifiedKFold, whose test folds hold labeled rows only.
        """
        return score_labeled(self, X, y, sample_weight)

    def get_metadata_routing(self):
        """Return the routing of metadata.

        Returns
        -------
        MetadataRouter
            ``fit`` passes metadata to the inner estimator's ``fit``.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=mapping)
