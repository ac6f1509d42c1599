"""M1+SVM as an estimator: any scikit-learn classifier on the latent codes of a variational autoencoder."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from inspect import signature
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn import get_config
from sklearn.base import (
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    clone,
)
from sklearn.frozen import FrozenEstimator
from sklearn.svm import SVC
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skdgm._labels import check_two_classes
from skdgm._sklearn_compat import CallbackSupportMixin, HasMethods, Interval, StrOptions, _fit_context, validate_data
from skdgm._warnings import warn_user
from skdgm.distributed._processes import alone, together
from skdgm.estimators._arrays import CHUNK, PreservesFloatDtype, as_host_array, tensor_in_tensor_out
from skdgm.estimators._callbacks import unchanged_on_error
from skdgm.estimators._classifier import read_labels, read_part, score_labeled
from skdgm.estimators._encoder import (
    NestedDefaults,
    active_dimensions,
    check_encoder,
    check_frozen_names,
    fitted_encoder,
    updated_encoder,
)
from skdgm.estimators._frames import as_table_or_stream
from skdgm.estimators._presets import IMAGES_TSVM, HasPresets, Presets
from skdgm.estimators._shards import gathered, of_rows, refuse, same_random
from skdgm.estimators._state import check_same_classes
from skdgm.estimators._streams import Table, fits_in_memory, header_of, in_blocks
from skdgm.estimators._unlabeled import (
    UnlabeledRows,
    check_classes,
    has_reader,
    marked,
    reads_unlabeled,
    select_rows,
    with_unlabeled_rows,
)
from skdgm.estimators._weights import WeightedRows, weighted_rows
from skdgm.estimators.transductive_svc import TransductiveSVC
from skdgm.estimators.vae import VAE


def inner_has(method: str) -> Any:
    """Return the condition for a method that only some inner estimators have."""

    def check(self: M1Classifier) -> bool:
        getattr(vars(self).get("estimator_", self._inner), method)
        return True

    return check


class M1Classifier(
    HasPresets,
    PreservesFloatDtype,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    MetaEstimatorMixin,
    NestedDefaults,
):
    """Semi-supervised classifier: a scikit-learn estimator on the latent codes of a VAE (M1+SVM).

    A VAE learns the encoder q(z | x) from all rows, labeled and unlabeled. The inner estimator learns the labels from
    the latent codes.

    Parameters
    ----------
    estimator : classifier or None, default=None
        Classifier that is trained on the codes; it is cloned. None is ``SVC(break_ties=True)``, which has no
        ``predict_proba``: for probabilities, give ``CalibratedClassifierCV(SVC(), ensemble=False)``. Searches can set
        its parameters, for example ``estimator__C``.

    encoder : VAE, FrozenEstimator of a fitted VAE, or None, default=None
        VAE that encodes the rows. It is cloned and fitted on all rows, labeled and unlabeled. A ``FrozenEstimator`` of
        a fitted VAE is used as it is, so a search does not fit it again.

        None is ``VAE()``, seeded from ``random_state``.

    n_draws : int or None, default=None
        Number of draws from q(z | x) per labeled row on which to train the inner estimator. None trains it on the
        posterior means. About 20 draws help if labels are few and the posterior is wide; training takes as many times
        longer. Prediction always uses the means.

    passthrough : bool, default=True
        Whether the classifier reads the columns of X beside the latent codes, standardized as the encoder reads them.

        With False it is the paper's model. On small tables, the codes alone lose some of what labels depend on. With
        True, the standardized columns are kept in memory during ``fit``.

    active_threshold : float, default=0.1
        Standard deviation above which a latent dimension of the encoder is active, in [0, inf); it is that of the
        posterior means over the training rows. The classifier uses the active dimensions only, or all if none is
        active. Larger values keep fewer dimensions.

        Inactive dimensions carry no information, and draws from them would be noise.

    fit_on : {"auto", "labeled", "all"}, default="auto"
        Rows on which to train the inner estimator. "auto" is all rows for estimators that can use unlabeled rows (those
        of ``sklearn.semi_supervised``, any with a parameter ``unlabeled_value``, and pipelines that end in one of
        these), otherwise the labeled rows. With all rows, the inner estimator gets labels as indices into ``classes_``,
        and -1 for unlabeled rows.

        A search, calibration or ensemble is trained on the labeled rows, and the estimators in it that can use
        unlabeled rows get these in addition, as in ``SemiSupervisedMetaClassifier``. "all" hands all rows to any other
        estimator as well, and raises an error if it reads -1 as a class.

    unlabeled_value : int, float, str or None, default=-1
        Label that marks a row as unlabeled. None, NaN, NaT, and pandas.NA in y mark unlabeled rows as well. If this
        parameter is None, every row must be labeled.

    random_state : int, RandomState instance or None, default=None
        Seeds everything random in ``fit``.

        An encoder or estimator with a ``random_state`` of its own keeps it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted, without the marker of unlabeled rows.
    encoder_ : VAE
        The fitted encoder.
    estimator_ : classifier
        The fitted inner estimator.
    active_ : ndarray of shape (n_active,)
        Indices of the active latent dimensions of the encoder.
    n_features_in_ : int
        Number of columns of X in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the columns of X. Only there if all of them are strings.

    See Also
    --------
    TransductiveSVC : An inner estimator that also uses the codes of unlabeled rows (M1+TSVM).
    M1M2Classifier : A generative model of the labels on the same codes.

    Notes
    -----
    ``cross_val_score`` and ``GridSearchCV`` need ``cv=LabeledStratifiedKFold()`` if y has unlabeled rows. With
    another splitter, they also need ``scoring=make_labeled_scorer("accuracy")``. Latent codes are not standardized,
    because their unequal spread carries information. ``fit`` gives the warnings of the encoder: of cells extremely far
    from all others, and of a fit that is worse than independent columns.

    References
    ----------
    .. [1] D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, "Semi-supervised learning with deep generative models",
       NIPS 2014. arXiv:1406.5298

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.svm import SVC
    >>> from skdgm import VAE, M1Classifier
    >>> from skdgm.datasets import mask_labels
    >>> X, y = load_digits(return_X_y=True)
    >>> model = M1Classifier(SVC(C=10), encoder=VAE(hidden_layer_sizes=(64,), max_iter=5), random_state=0)
    >>> model.fit(X[:500] / 16, mask_labels(y[:500], 50, random_state=0)).predict(X[500:] / 16).shape
    (1297,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods("fit"), None],  # not predict: a StackingClassifier has it only once it is fitted
        "encoder": [VAE, FrozenEstimator, None],
        "n_draws": [Interval(Integral, 1, None, closed="left"), None],
        "passthrough": ["boolean"],
        "active_threshold": [Interval(Real, 0, None, closed="left")],
        "fit_on": [StrOptions({"auto", "labeled", "all"})],
        "unlabeled_value": [Integral, Real, str, None],
        "random_state": ["random_state"],
    }

    _presets: ClassVar[Presets] = {
        "images_few_labels": lambda: {
            "estimator": TransductiveSVC(**IMAGES_TSVM),
            "encoder": VAE.from_preset("images", max_iter=400),  # an SVM depends on every nat
            "passthrough": False,
        },
    }

    _needed_when_fitted = ("estimator_", "encoder_", "active_", "classes_", "n_features_in_", "_inner_uses_indices")

    encoder_: VAE
    estimator_: Any
    _part: tuple[int, int] | None = None  # seed and number of the last call of partial_fit

    def __init__(
        self,
        estimator=None,
        *,
        encoder=None,
        n_draws=None,
        passthrough=True,
        active_threshold=0.1,
        fit_on="auto",
        unlabeled_value=-1,
        random_state=None,
    ) -> None:
        self.estimator = estimator
        self.encoder = encoder
        self.n_draws = n_draws
        self.passthrough = passthrough
        self.active_threshold = active_threshold
        self.fit_on = fit_on
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    def _check_state(self) -> None:
        check_encoder(self)
        check_same_classes(self, self.estimator_, are_indices=self._inner_uses_indices)

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the encoder to all rows, and the inner estimator to their latent codes.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels; ``unlabeled_value``, None, NaN, NaT, and pandas.NA mark unlabeled rows.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, labeled and unlabeled, for the fit of the encoder, and unchanged for that of the inner
            estimator if its ``fit`` takes weights. With ``enable_metadata_routing=True``, the inner estimator gets
            them if it requests them; the default one does. Rows of weight 0 are left out.
        **fit_params : dict
            Metadata for the ``fit`` of the inner estimator; routing needs ``enable_metadata_routing=True``. Arrays with
            one entry per row of X are reduced to the rows on which the inner estimator is trained, and repeated as
            these are.

        Returns
        -------
        M1Classifier
            The fitted estimator.

        Raises
        ------
        ValueError
            As for the ``fit`` of the encoder; also if y has no label or a type that cannot hold the marker, if the
            columns of X have other names than those of a frozen encoder, if an inner estimator would read -1 as a
            class, or if only one class has labels under ``estimator=None``. The estimator is then left unchanged.
        KeyboardInterrupt
            If Ctrl-C is pressed. The estimator is then left unchanged.

        Warns
        -----
        UserWarning
            If the inner estimator does not take weights, or if Ctrl-C ended the training of an inner estimator of
            skdgm early; the estimator is then fitted.
        """
        with unchanged_on_error(self), together(self):
            given = weighted_rows(X, y, sample_weight, type(self).__name__)
            if given.kept is not None:
                fit_params = select_rows(fit_params, given.kept, len(sample_weight))
            return self._fit(X, y, given, self._routed("fit", given.weight, fit_params))

    @available_if(inner_has("partial_fit"))
    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train the encoder for one epoch on some rows, and the inner estimator by its ``partial_fit``.

        It is there if the inner estimator has it. The encoder learns from all rows of a call, as
        ``VAE.partial_fit``. The inner estimator then gets their new codes; the active dimensions are those of the first
        call. Codes change while the encoder learns, so an encoder that has been fitted to some rows, as a
        ``FrozenEstimator``, is easier to follow for the inner estimator.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            As in ``fit``; in all calls but the first one, all rows may be unlabeled.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes. The first call needs them, unless ``fit`` was called before.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            As in ``fit``; for the encoder, weights are relative to the other rows of the call.

        Returns
        -------
        M1Classifier
            This estimator. After ``fit``, calls continue from it; ``fit`` starts anew.

        Raises
        ------
        ValueError
            As in ``fit``; for a first call without ``classes`` or without a label, for other classes than before, and
            for a label that is none of them. The estimator is then left unchanged.
        """
        with unchanged_on_error(self), together(self):
            refuse(self, "partial_fit")
            given = weighted_rows(X, y, sample_weight, type(self).__name__)
            return self._fit_part(given, classes, self._routed("partial_fit", given.weight, {}))

    def _fit_part(self, given: WeightedRows, classes: Any, params: dict[str, Any]) -> M1Classifier:
        is_first = not hasattr(self, "estimator_")
        if is_first:
            check_frozen_names(self.encoder, given.X)
            self._inner_uses_indices = self._fits_on_indices()
        table, targets = read_part(self, given.X, given.y, classes, is_first=is_first)
        random = self._random_of_part()
        previous, default = None if is_first else self.encoder_, self._nested_defaults()["encoder"]
        self.encoder_ = updated_encoder(self.encoder, previous, table, given.weight, random, default)
        rows = self.encoder_._read(table)
        indices, Z, _ = self._training_codes(rows, targets, random, learns=is_first)
        if len(indices):
            estimator = self._started(random) if is_first else copy.deepcopy(self.estimator_)
            known = np.arange(len(self.classes_)) if self._inner_uses_indices else self.classes_
            labels = self._inner_labels(targets[indices])
            self.estimator_ = estimator.partial_fit(Z, labels, classes=known, **select_rows(params, indices, len(rows)))
        elif is_first:
            raise ValueError(
                f"y has no labeled row, but {type(self._inner).__name__} needs one in the first call of partial_fit. "
                "Begin with rows of which some are labeled."
            )
        return self

    def _random_of_part(self) -> np.random.RandomState:
        """Count a call and return its random state."""
        if self._part is None:
            self._part = (int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max)), 0)
        self._part = (self._part[0], self._part[1] + 1)
        return np.random.RandomState(self._part)

    def _started(self, random: np.random.RandomState) -> Any:
        """A new inner estimator, prepared for unlabeled rows if it gets them."""
        estimator = seeded(clone(self._inner), random)
        return marked(estimator, self.classes_) if self._inner_uses_indices else estimator

    def _routed(self, method: str, weight: np.ndarray | None, params: dict[str, Any]) -> dict[str, Any]:
        """Metadata for the inner estimator: the weights if it takes them or, under metadata routing, requests them."""
        if params or get_config()["enable_metadata_routing"]:
            return process_routing(self, method, sample_weight=weight, **params).estimator[method]
        if weight is None:
            return {}
        if "sample_weight" in signature(getattr(self._inner, method)).parameters:
            return {"sample_weight": weight}
        warn_user(
            f"{method} of the inner estimator {type(self._inner).__name__} does not take sample_weight: the weights "
            "count for the encoder only. Use an inner estimator that does, or metadata routing.",
        )
        return {}

    @property
    def _inner(self) -> Any:
        """The parameter ``estimator``, or the default in its place."""
        return self._nested_defaults()["estimator"] if self.estimator is None else self.estimator

    def _fit(self, X: Any, y: Any, given: WeightedRows, params: dict[str, Any]) -> M1Classifier:
        context = self._init_callback_context(max_subtasks=1 + (not isinstance(self.encoder, FrozenEstimator)))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        check_frozen_names(self.encoder, X)
        table, targets = read_labels(self, given.X, given.y)
        if self.estimator is None:
            check_two_classes(self.classes_, "M1Classifier with its default SVC")
        random = same_random(check_random_state(self.random_state))
        default = self._nested_defaults()["encoder"]
        self.encoder_ = fitted_encoder(self.encoder, table, given.weight, random, self, context, default)
        rows = self.encoder_._read(table)
        self._inner_uses_indices = self._fits_on_indices()
        indices, Z, Z_unlabeled = self._training_codes(rows, targets, random)
        estimator = seeded(clone(self._inner), random)
        task, labels = context.subcontext(task_name="fit-estimator"), self._inner_labels(targets[indices])
        metadata = select_rows(params, np.flatnonzero(targets < 0), len(targets))
        of_inner = select_rows(params, indices, len(targets))
        of_labeled = select_rows(params, np.flatnonzero(targets >= 0), len(targets)).get("sample_weight")
        with (
            UnlabeledRows(Z_unlabeled, Z, metadata, of_labeled) as unlabeled,
            callbacks_passed_on(task, estimator),
        ):
            task.call_on_fit_task_begin(estimator=self, X=Z, y=labels)
            with alone():  # all processes have all codes, and fit to them alike
                self._prepared(estimator, unlabeled).fit(Z, labels, **of_inner)
            task.call_on_fit_task_end(estimator=self, X=Z, y=labels)
        if self._inner_uses_indices:
            check_classes(estimator, len(self.classes_))
        self.estimator_, self._part = estimator, None
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _training_codes(
        self, rows: Table, targets: np.ndarray, random: np.random.RandomState, *, learns: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the indices of the rows for the inner estimator, repeated for each draw, and their features.

        The third array holds the features of all unlabeled rows, if the inner estimator has a use for them. ``learns``
        chooses the active dimensions.
        """
        mean, sd = (gathered(part) for part in self.encoder_._posterior(rows))
        if learns:
            self.active_ = active_dimensions(mean, self.active_threshold)
        labeled, unlabeled = np.flatnonzero(targets >= 0), np.flatnonzero(targets < 0)
        needs_unlabeled = self._inner_uses_indices or (self.fit_on != "labeled" and has_reader(self.estimator))
        unlabeled = unlabeled if needs_unlabeled else unlabeled[:0]
        self._check_features_fit_in_memory(rows, len(labeled) + len(unlabeled))
        means, others = (of_rows(self._features, rows, part) for part in (labeled, unlabeled))
        position = np.arange(len(labeled))
        if self.n_draws is not None:
            position = np.repeat(position, self.n_draws)
            sd, means = sd[labeled[position]][:, self.active_], means[position]
            means[:, : len(self.active_)] += (sd * random.standard_normal(sd.shape)).astype(means.dtype)
        if not self._inner_uses_indices:
            return labeled[position], means, others
        indices, Z = np.concatenate([labeled[position], unlabeled]), np.concatenate([means, others])
        order = np.argsort(indices) if self.n_draws is None else np.arange(len(indices))
        return indices[order], Z[order], others

    def _check_features_fit_in_memory(self, rows: Table, n_needed: int) -> None:
        """Raise an error if the inner estimator would read the columns of too many rows."""
        if self.passthrough and not isinstance(rows, np.ndarray) and not fits_in_memory((n_needed, rows.shape[1])):
            raise ValueError(
                f"passthrough=True needs the {rows.shape[1]} columns of the {n_needed} rows that the inner estimator "
                "reads in memory, where they do not fit. Use passthrough=False, or fit_on='labeled' if it reads "
                "unlabeled rows."
            )

    def _fits_on_indices(self) -> bool:
        """Whether ``fit`` of the inner estimator itself gets the unlabeled rows, and class indices as labels."""
        if self.fit_on == "labeled" or reads_unlabeled(self.estimator):
            return self.fit_on != "labeled"
        return self.fit_on == "all" and not has_reader(self.estimator)

    def _prepared(self, estimator: Any, unlabeled: UnlabeledRows) -> Any:
        """Prepare the inner estimator for the unlabeled rows that it or its members get; return it, changed."""
        if self._inner_uses_indices:
            return marked(estimator, self.classes_)
        return estimator if self.fit_on == "labeled" else with_unlabeled_rows(estimator, unlabeled)

    def _nested_defaults(self) -> dict[str, Any]:
        estimator = SVC(break_ties=True)
        if get_config()["enable_metadata_routing"]:
            estimator.set_fit_request(sample_weight=True)
        return {"encoder": VAE(), "estimator": estimator}

    def _inner_labels(self, targets: np.ndarray) -> np.ndarray:
        return targets if self._inner_uses_indices else self.classes_[targets]

    @tensor_in_tensor_out
    def transform(self, X):
        """Encode rows as posterior means E_q[z | x] of the active dimensions.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_active)
        """
        return self._codes(self._read(X))

    @tensor_in_tensor_out
    def impute(self, X, *, method="importance", n_draws=None, n_steps=100, random_state=None):
        """Fill in missing cells with the encoder, a VAE; leave observed cells unchanged to the bit.

        Parameters
        ----------
        X : array-like, frame or torch.Tensor of shape (n_samples, n_features)
        method, n_draws, n_steps, random_state
            As in the ``impute`` of ``VAE``.

        Returns
        -------
        ndarray or frame of shape (n_samples, n_features); for ``n_draws``, (n_draws, n_samples, n_features) or a list
            As in the ``impute`` of ``VAE``.
        """
        options = {"method": method, "n_draws": n_draws, "n_steps": n_steps, "random_state": random_state}
        X = self._table(X)  # first, because it raises NotFittedError
        return self.encoder_.impute(X, **options)

    def _read(self, X: Any) -> Table:
        """Validate X and return it as numbers."""
        table = self._table(X)  # first, because it raises NotFittedError
        return self.encoder_._read(table)

    def _table(self, X: Any) -> Any:
        """Validate the shape and the column names of X; it becomes an array unless it is a frame or a stream."""
        check_is_fitted(self, "estimator_")
        X = as_table_or_stream(as_host_array(X), type(self).__name__)
        validate_data(self, header_of(X), reset=False, skip_check_array=True)
        return X

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.input_tags.sparse = True
        return tags

    def _codes(self, rows: Table) -> np.ndarray:
        mean, _ = self.encoder_._posterior(rows)
        return mean[:, self.active_].astype(self.encoder_._feature_dtype(rows))

    def _features(self, rows: Table) -> np.ndarray:
        """What the inner estimator reads: codes and, with ``passthrough``, the columns of X, standardized."""
        codes = self._codes(rows)
        return (
            np.hstack([codes, self.encoder_._encoder_inputs(rows)]).astype(codes.dtype) if self.passthrough else codes
        )

    def _apply_inner(self, name: str, X: Any) -> np.ndarray:
        """Apply a method of the inner estimator to the features of rows."""
        rows = self._read(X)  # first, because it raises NotFittedError
        method = getattr(self.estimator_, name)
        return in_blocks(lambda block: in_padded_chunks(method, self._features(block)), rows)

    @tensor_in_tensor_out
    def predict(self, X):
        """Predict the class of each row.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        predicted = self._apply_inner("predict", X)
        return self.classes_[predicted] if self._inner_uses_indices else predicted

    @available_if(inner_has("predict_proba"))
    @tensor_in_tensor_out
    def predict_proba(self, X):
        """Predict class probabilities with the inner estimator.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._apply_inner("predict_proba", X)

    @available_if(inner_has("predict_log_proba"))
    @tensor_in_tensor_out
    def predict_log_proba(self, X):
        """Logarithm of ``predict_proba``.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._apply_inner("predict_log_proba", X)

    @available_if(inner_has("decision_function"))
    @tensor_in_tensor_out
    def decision_function(self, X):
        """Evaluate the decision function of the inner estimator.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._apply_inner("decision_function", X)

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
            ``fit`` and ``partial_fit`` pass metadata to the same method of the inner estimator.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit").add(caller="partial_fit", callee="partial_fit")
        return MetadataRouter(owner=self).add_self_request(self).add(estimator=self._inner, method_mapping=mapping)

    @property
    def _n_features_out(self) -> int:
        return len(self.active_)


def in_padded_chunks(method: Callable[[np.ndarray], np.ndarray], codes: np.ndarray) -> np.ndarray:
    """Apply a method of the inner estimator to batches of one size, so that a row's result is the same in any batch."""
    parts = [np.ascontiguousarray(codes[start : start + CHUNK]) for start in range(0, len(codes), CHUNK)]
    return np.concatenate([method(np.pad(part, ((0, CHUNK - len(part)), (0, 0))))[: len(part)] for part in parts])


def seeded(estimator: Any, random: np.random.RandomState) -> Any:
    """Set a seed for every ``random_state`` of the estimator that is None; return the estimator."""
    params = estimator.get_params(deep=True)
    seeds = {
        name: int(random.randint(np.iinfo(np.int32).max)) for name in sorted(params) if is_seed(name, params[name])
    }
    if seeds:
        estimator.set_params(**seeds)
    return estimator


def is_seed(name: str, value: Any) -> bool:
    """Tell whether a parameter needs a seed."""
    return value is None and (name == "random_state" or name.endswith("__random_state"))


def callbacks_passed_on(context: Any, estimator: Any) -> Any:
    """Return the context in which to fit the inner estimator, with callbacks if it supports them."""
    return context.propagate_callback_context(estimator) if hasattr(estimator, "set_callbacks") else nullcontext()
