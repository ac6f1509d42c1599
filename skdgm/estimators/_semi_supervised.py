"""Base class of M2Classifier and M1M2Classifier: the terms of the objective, and prediction."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import check_random_state
from torch import Generator, Tensor

from skdgm._sklearn_compat import Interval, RealNotInt, StrOptions
from skdgm._warnings import warn_user
from skdgm.distributions import Categorical
from skdgm.estimators._arrays import PreservesFloatDtype, as_host_array, finite_log_densities, tensor_in_tensor_out
from skdgm.estimators._auto_alpha import rates_of_classifier
from skdgm.estimators._base import BaseDeepGenerative, missing_columns, some
from skdgm.estimators._callbacks import EpochTasks, fitting
from skdgm.estimators._class_prior import ClassPriorEstimator, initial_prior, is_estimated, shares, with_named_classes
from skdgm.estimators._classifier import indices_of, read_labels, score_labeled
from skdgm.estimators._diagnosis import FACTOR_OF_DISTANCE, MAX_SHARE_UNLIKE, share_unlike
from skdgm.estimators._imputation import BaseClassImputation
from skdgm.estimators._kernel_start import LINEAR_ONLY, MAX_ROWS, kernel_start, n_centers, place
from skdgm.estimators._label_terms import BaseLabelTerms, LabelTotals, RowWeights
from skdgm.estimators._options import check_n_samples, layer_sizes, network_args
from skdgm.estimators._partial_fit import Parts
from skdgm.estimators._shards import own_part
from skdgm.estimators._streams import Table
from skdgm.estimators._temperature import PARAMS_OF_FOLDS, temperatures, with_temperature
from skdgm.estimators._weights import by_class_index, drawn_by_weight, weighted_rows
from skdgm.likelihoods.columns import Groups
from skdgm.models.holes import N_FILLS
from skdgm.models.m2 import M2Module
from skdgm.sources import Batch, Source
from skdgm.training import Term

PROBA_METHODS = ["classifier", "bayes"]
# Maximum number of rows from which the width of the classifier's kernel is computed, and their smallest variance.
ROWS_FOR_SPREAD, SMALLEST_VARIANCE = 1_000, 1e-9


class TrainingData(NamedTuple):
    """What an M2 is trained on.

    Attributes
    ----------
    rows : ndarray or Rows of shape (n_samples, n_features)
        X as numbers.
    source : Source
        What the M2 models: rows, or their codes.
    n_columns : int
    likelihood : str or groups of columns
    """

    rows: Table
    source: Source
    n_columns: int
    likelihood: str | Groups


class BaseSemiSupervised(
    PreservesFloatDtype,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseClassImputation,
    BaseLabelTerms,
):
    """Abstract base of M2Classifier and M1M2Classifier: an M2 trained on rows, or on their latent codes.

    An estimator provides the training source (``_training_source``) and the module that predicts (``_model``).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDeepGenerative._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "alpha_normalization": [StrOptions({"paper", "balanced"})],
        "kl_warmup": [Interval(Integral, 0, None, closed="left"), Interval(RealNotInt, 0, 1, closed="both")],
        "class_prior": [StrOptions({"estimated", "uniform", "empirical"}), "array-like", dict],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "labeled_batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_enumerated": [Interval(Integral, 1, None, closed="left"), None],
        "proba_method": [StrOptions(set(PROBA_METHODS))],
        "calibration_cv": [Interval(Integral, 2, None, closed="left"), None],
        "unlabeled_value": [Integral, Real, str, None],
    }

    _missing_cells_allowed = _reads_streams = True

    classes_: np.ndarray
    _misses_cells: np.ndarray | bool = False  # for each column that the M2 models, whether it has missing cells
    _n_epochs, _min_steps, _max_steps = 70, 1_000, 20_000
    _n_side: int = 0  # number of columns that only q(y | x) reads

    # --- abstract -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _training_source(
        self, X: Any, y: Tensor, sample_weight: np.ndarray | None, random: np.random.RandomState, context: Any
    ) -> TrainingData:
        """Read X and return the training data of the M2, without weights; those given are for an encoder."""

    @abstractmethod
    def _epoch_context(self, context: Any) -> Any:
        """Return the callback context whose subtasks are the epochs of the M2."""

    @property
    @abstractmethod
    def _model(self) -> Any:
        """Module that predicts from X, with q_y, code, decode, sample, log_joint, log_likelihood, and elbo."""

    @property
    @abstractmethod
    def _n_fit_tasks(self) -> int:
        """Number of subtasks in the callback context of ``fit``."""

    # --- fit ----------------------------------------------------------------------------------------------------

    @fitting
    def fit(self, X, y, sample_weight=None):
        """Fit to labeled and unlabeled rows.

        Parameters
        ----------
        X : array-like, frame, sparse matrix, table in a file, or torch.Tensor of shape (n_samples, n_features)
            Numbers, text, and categories; NaN, None, and nulls mark a missing cell. A named likelihood must hold all
            values: "bernoulli" needs [0, 1].
        y : array-like of shape (n_samples,)
            Labels: integers, or strings in an object array. ``unlabeled_value``, None, NaN, NaT, and pandas.NA mark
            unlabeled rows. At least one row must be labeled; all rows may be.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, labeled and unlabeled: a row of weight 2 counts like two equal rows, in the bound, the
            classification term, the shares of the classes, and the bound of held-out rows. ``class_weight`` multiplies
            them. Only their ratios count. Rows of weight 0 are left out: a class whose labels all have weight 0 is not
            in ``classes_``. Scales of columns and priors do not depend on weights.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If X is not finite or outside the range of a named likelihood; if y has no label, a type that cannot hold
            the marker, or several columns; if weights are negative, NaN, or all 0; if the class prior does not fit the
            classes; or if the device is not available. The estimator is then left unchanged.
        KeyboardInterrupt
            If Ctrl-C is pressed before the first epoch of the model is complete (hence during the fit of an encoder),
            outside its training, or twice within two seconds. The estimator is then left unchanged.

        Warns
        -----
        UserWarning
            If cells are extremely far from all others in their column; if only one class has labels; if numbers given
            as ``class_prior`` contradict the unlabeled rows; if more than 5% of the unlabeled rows are unlike all of at
            least 20 labeled rows; or if Ctrl-C ended the training after a complete epoch, and the estimator is fitted.
        ConvergenceWarning
            If the fit ended at a bound clearly below that of independent columns, or while it still rose.
        """
        context = self._init_callback_context(max_subtasks=self._n_fit_tasks)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        given = weighted_rows(X, y, sample_weight, type(self).__name__)
        table, targets = self._read_labeled(given.X, given.y)
        self._warn_if_one_class()
        weights = self._row_weights(targets, given.relative)
        prior = initial_prior(self.class_prior, self.classes_, targets, weights.sample)
        random, is_warm_start = self._start(), self._is_warm_start
        data = self._training_source(table, self._tensor(targets), weights.sample, random, context)
        of_folds = np.random.RandomState(random.randint(np.iinfo(np.int32).max))  # the model is the same without folds
        self._temperatures = self._fitted_temperatures(table, targets, weights.sample, prior, of_folds)
        self.module_ = self._new_module(self._architecture_args(targets, data.n_columns, data.likelihood), random)
        prior_estimator = self._prior_estimator(data.source, targets, weights, prior, random)
        if not is_warm_start:
            self.module_.classifier.init_shares(prior_estimator.label_shares)
        rates = self._init_classifier(data.source, targets, weights.training, random) if self.alpha == "auto" else {}
        epochs = self._epoch_context(context)
        tasks = EpochTasks(self, epochs, X, y, before_epoch=prior_estimator.update)
        terms, validation, penalties = self._objective(data, targets, weights, random)
        options = {"kl_warmup": self.kl_warmup, "penalties": penalties, "rate_factors": rates}
        options["stateful"] = [prior_estimator]
        self._train(terms, random, len(targets), tasks, validation, **options)
        self._parts = Parts(len(targets))
        self._totals = LabelTotals.none(len(self.classes_)).plus(targets, weights)._replace(rate_factors=rates)
        self.class_prior_ = prior_estimator.estimated() if is_estimated(self.class_prior) else prior
        prior_estimator.check(self.classes_, self.class_prior_)
        self._warn_if_unlike_labeled(data.source, targets)
        if self.alpha == "auto" and self.class_weight is None:  # otherwise the bound is J^alpha, or weighted
            self._warn_if_worse_than_baseline(drawn_by_weight(data.rows, weights.sample, random), len(self.classes_))
        if epochs is not context:
            epochs.call_on_fit_task_end(estimator=self)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _prior_estimator(
        self, source: Source, targets: np.ndarray, weights: RowWeights, prior: np.ndarray, random: np.random.RandomState
    ) -> ClassPriorEstimator:
        """Set p(y) in the module, and return what estimates it between epochs."""
        of_sample, of_training = (shares(targets, len(self.classes_), weight) for weight in weights)
        self._set_prior(prior, of_sample, of_training)
        return ClassPriorEstimator(self.class_prior, self.module_, source, targets, of_training, weights.sample, random)

    def _objective(
        self, data: TrainingData, targets: np.ndarray, weights: RowWeights, random: np.random.RandomState
    ) -> tuple[list[Term], Term | None, dict[str, float]]:
        """The terms of J^alpha, the term of held-out rows, and the penalties of the classifier's weights."""
        choice, n_rows = self._choose_alpha(data.n_columns, int((targets >= 0).sum())), len(targets)
        scale, holds_out = choice.gradient_scale, self._holds_out(n_rows)
        terms, validation = self._terms(
            data.source, targets, weights, scale, random, n_rows=n_rows, holds_out=holds_out
        )
        return terms, validation, choice.penalties

    def _warn_if_one_class(self) -> None:
        """Warn if there is nothing to classify."""
        if len(self.classes_) == 1:
            warn_user(
                f"y has labels of one class only, {self.classes_.tolist()[0]!r}, which every row will be assigned. "
                "Label rows of another class, or name the other classes in class_prior={label: share, ...}.",
            )

    def _warn_if_unlike_labeled(self, source: Source, targets: np.ndarray) -> None:
        """Warn if many unlabeled rows are far from all labeled ones, unless ``class_prior`` names a class for them."""
        if len(np.unique(targets[targets >= 0])) < len(self.classes_):
            return
        labeled, unlabeled = (
            self._classifier_inputs(source, some(np.flatnonzero(rows))) for rows in (targets >= 0, targets < 0)
        )
        share = share_unlike(labeled, unlabeled)
        if share > MAX_SHARE_UNLIKE:
            warn_user(
                f"{100 * share:.0f}% of the unlabeled rows are far from all labeled rows, {FACTOR_OF_DISTANCE:g} "
                "times farther than any labeled row is from its nearest one. Their class may have no labels, and their "
                "predictions mean little. Label some of them, or leave them out.",
            )

    def _classifier_inputs(self, source: Source, indices: np.ndarray) -> np.ndarray:
        """Rows as q(y | x) reads them in ``predict``."""
        batch = self._rows_at_prediction(source, self._tensor(indices))
        features = self.module_.classifier_features(batch.x, batch.observed)
        return self.module_.classifier.mlp.read(features).cpu().numpy()

    def _fitted_temperatures(
        self,
        X: Any,
        targets: np.ndarray,
        weight: np.ndarray | None,
        prior: np.ndarray,
        random: np.random.RandomState,
    ) -> dict[str, float]:
        """Return a temperature for each ``proba_method``: 1, or fitted to labels that ``calibration_cv`` holds out."""
        if self.calibration_cv is None:
            return dict.fromkeys(PROBA_METHODS, 1.0)

        def fitted(y: np.ndarray) -> Any:
            of_fold = clone(self).set_params(**PARAMS_OF_FOLDS, **self._params_of_folds(prior, random))
            return of_fold.fit(X, own_part(y, X), sample_weight=own_part(weight, X))

        return temperatures(fitted, X, targets, weight, len(prior), self.calibration_cv, PROBA_METHODS, random)

    def _params_of_folds(self, prior: np.ndarray, random: np.random.RandomState) -> dict[str, Any]:
        """Return parameters in which the models of the folds differ: their labels are class indices."""
        return {
            "class_prior": self.class_prior if isinstance(self.class_prior, str) else dict(enumerate(prior)),
            "class_weight": by_class_index(self.class_weight, self.classes_),
            "random_state": int(random.randint(np.iinfo(np.int32).max)),
        }

    @property
    def temperature_(self) -> float:
        """Temperature of ``predict_proba`` under the present ``proba_method``."""
        self._check_fitted()
        return self._temperatures[self.proba_method]

    # --- the class prior ----------------------------------------------------------------------------------------

    def _read_labeled(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        """Validate X and y, and set ``classes_``; return X and class indices, -1 for unlabeled rows."""
        previous = getattr(self, "classes_", None)
        table, targets = read_labels(self, X, y)
        if isinstance(self.class_prior, dict):
            self.classes_, targets = with_named_classes(self.classes_, targets, self.class_prior)
        self._check_same_classes(previous)
        self._check_same_prior()
        self._fitted_prior = self.class_prior
        return table, targets

    def _set_prior(self, prior: np.ndarray, of_sample: np.ndarray, of_training: np.ndarray) -> None:
        """Set p(y) in the module, unless a warm start continues from its estimate, and the shares of the labels.

        The classifier learns the shares that class weights make, so training divides by those.
        """
        is_warm_start = self.warm_start and hasattr(self, "class_prior_") and is_estimated(self.class_prior)
        with np.errstate(divide="ignore"):
            log_prior, *log_shares = (np.log(p).astype(np.float32) for p in (prior, of_training, of_sample))
        if not is_warm_start:
            self.module_.log_p_y.copy_(self._tensor(log_prior))
        for buffer, log_share in zip((self.module_.log_p_labeled, self.module_.log_p_counted), log_shares, strict=True):
            buffer.copy_(self._tensor(log_share))

    def _check_same_prior(self) -> None:
        """Raise an error if a warm start gets another ``class_prior``."""
        known = getattr(self, "_fitted_prior", None) if self.warm_start else None
        if known is not None and repr(known) != repr(self.class_prior):
            raise ValueError(
                f"warm_start=True continues from the last fit, but class_prior changed since: it was {known!r}, now "
                f"{self.class_prior!r}. Use warm_start=False."
            )

    def _architecture_args(self, targets: np.ndarray, n_columns: int, likelihood: str | Groups) -> dict[str, Any]:
        return {
            "n_centers": self._n_centers(targets),
            "n_side": self._n_side,
            "n_columns": n_columns,
            "n_latent": int(self.n_components),
            "hidden": layer_sizes(self.hidden_layer_sizes),
            "activation": self.activation,
            "likelihood": likelihood,
            "linear_skip": True,
            "clip_inputs": self._clips_inputs,
            "missing_indicator": self._missing_indicator(),
            **network_args(self, n_columns),
            "class_prior": [1 / len(self.classes_)] * len(self.classes_),  # replaced after the module is built
        }

    def _missing_indicator(self) -> bool | list[bool]:
        """Columns of which the networks are told what cells are missing; a warm start keeps them."""
        known = self._architecture["missing_indicator"] if self._is_warm_start else False
        return missing_columns(self._misses_cells | np.asarray(known))

    def _n_centers(self, targets: np.ndarray) -> int:
        """Number of centers of the classifier's kernel; a warm start keeps them."""
        if self._is_warm_start:
            return int(self._architecture["n_centers"])
        return n_centers(int((targets >= 0).sum())) if self.alpha == "auto" else 0

    def _check_same_classes(self, previous: Any) -> None:
        """Raise an error if a warm start gets other classes than the previous fit."""
        if self.warm_start and previous is not None and not np.array_equal(previous, self.classes_):
            raise ValueError(
                f"warm_start=True continues from classes {previous.tolist()}, got labels of {self.classes_.tolist()}. "
                "Keep the classes, or use warm_start=False."
            )

    def _build(self, architecture: dict[str, Any], rng: Generator | None) -> M2Module:
        return M2Module(**architecture, rng=rng)

    def _init_classifier(
        self, source: Source, targets: np.ndarray, weight: np.ndarray | None, random: np.random.RandomState
    ) -> dict[str, float]:
        """Start q(y | x) as logistic regression on columns and kernel features; return its learning rate factors."""
        labeled = np.flatnonzero(targets >= 0)
        labeled = labeled if len(labeled) <= MAX_ROWS else np.sort(random.permutation(labeled)[:MAX_ROWS])
        read = labeled if len(labeled) else some(np.arange(len(targets)))
        classifier, x = self.module_.classifier, self._classifier_inputs(source, read)
        if not (self.warm_start and hasattr(self, "class_prior_")):
            self._strengths = LINEAR_ONLY
            if len(np.unique(targets[labeled])) > 1:
                row_weight = np.ones(len(x)) if weight is None else weight[labeled] / weight[targets >= 0].mean()
                row_weight = row_weight * (targets >= 0).sum() / len(x)  # keeps the penalty relative to all labels
                every = np.sort(random.permutation(len(targets))[:ROWS_FOR_SPREAD])
                gamma = 1 / (x.shape[1] * max(float(self._classifier_inputs(source, every).var()), SMALLEST_VARIANCE))
                start = kernel_start(x, targets[labeled], row_weight, gamma, len(self.classes_), random)
                place(classifier, start)
                self._strengths = start.strengths
        features = None if classifier.features is None else classifier.features(self._tensor(x)).cpu().numpy()
        return rates_of_classifier(x, len(layer_sizes(self.hidden_layer_sizes)), features)

    def _rows_at_prediction(self, source: Source, indices: Tensor) -> Batch:
        """Rows as q(y | x) will read them in ``predict``."""
        return source.rows(indices, Generator(self.device_).manual_seed(self._noise_seed))

    # --- classifier ---------------------------------------------------------------------------------------------

    @tensor_in_tensor_out
    def predict(self, X):
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Rows like those of ``fit``; any cell may be missing. With ``proba_method="bayes"``, a named likelihood must
            hold all values.

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        self._check_fitted()
        best = self._log_proba(X).argmax(1)
        return self.classes_[best]

    @tensor_in_tensor_out
    def predict_proba(self, X):
        """Predict class probabilities: q(y | x), or importance-weighted p(y | x) under ``proba_method="bayes"``.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; each row sums to 1.
        """
        self._check_fitted()
        return np.exp(self._log_proba(X))

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
        self._check_fitted()
        return self._log_proba(X)

    def _log_proba(self, X: Any) -> np.ndarray:
        rows, model = self._read(X), self._model
        if self.proba_method == "bayes":
            draws = self._n_draws
            log_joint = [
                self._apply_with_noise(
                    lambda x, noise, observed: model.log_joint(x, noise, draws, observed), block, self._draws_per_row
                )
                for block in self._checked_blocks(rows)
            ]
            log_proba = log_softmax(finite_log_densities(np.concatenate(log_joint)), axis=1)
        else:
            log_proba = self._by_holes(
                rows,
                lambda rows: self._apply(lambda x, observed: in_double(model.q_y(x, observed)), rows),
                lambda rows: self._apply_in_chunks(
                    lambda x, noise, observed: in_double(model.q_y_marginal(x, noise, observed)), rows, N_FILLS
                ),
            )
        return with_temperature(log_proba, self.temperature_)

    @property
    def _draws_per_row(self) -> int:
        return self._n_draws * len(self.classes_)

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

    # --- transformer and density --------------------------------------------------------------------------------

    @tensor_in_tensor_out
    def transform(self, X):
        """Encode rows as posterior means of the latent code, averaged over q(y | x).

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Rows like those of ``fit``; any cell may be missing.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            float32 for float32 X, otherwise float64.
        """
        self._check_fitted()
        rows, model = self._read(X), self._model
        codes = self._by_holes(
            rows,
            lambda rows: self._apply(model.code, rows),
            lambda rows: self._apply_in_chunks(model.code_marginal, rows, self._draws_per_row),
        )
        return codes.astype(self._feature_dtype(rows))

    @tensor_in_tensor_out
    def inverse_transform(self, Z, y=None):
        """Decode latent codes to the mean of the decoder, in the units of X.

        Parameters
        ----------
        Z : array-like or torch.Tensor of shape (n_samples, n_components)
        y : label or array-like of shape (n_samples,), default=None
            Class with which to decode each code: ``inverse_transform(transform(X), y)`` shows X in the style of the row
            but with class y. None averages over p(y), ``class_prior_``.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        self._check_fitted()
        codes, model = self._read_codes(Z), self._model
        return self._decode(codes, model.decode, *([] if y is None else [self._class_indices(y, len(codes))]))

    @tensor_in_tensor_out
    def score_samples(self, X):
        """Estimate log p(x), summed over labels, by an importance-weighted bound in nats per row.

        The bound is a lower bound in expectation.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Values must be in [0, 1] under ``likelihood="bernoulli"``, where only 0/1 rows have a density.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-density of X in its own units. Where "auto" chose Bernoulli, a cell out of range is scored as the
            nearest value in range, minus 10 nats.
        """
        self._check_fitted()
        model, draws = self._model, self._n_draws
        return self._densities(
            X, lambda x, noise, observed: model.log_likelihood(x, noise, draws, observed), self._draws_per_row
        )

    @tensor_in_tensor_out
    def elbo_samples(self, X):
        """Evidence lower bound -U(x) on log p(x), a mean over ``n_importance_samples`` draws, in nats per row.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        self._check_fitted()
        model, draws = self._model, self._n_draws
        return self._densities(X, lambda x, noise, observed: model.elbo(x, noise, draws, observed), self._draws_per_row)

    def sample(self, n_samples=1, y=None, random_state=None) -> tuple[Any, np.ndarray]:
        """Draw rows and their labels.

        Parameters
        ----------
        n_samples : int, default=1
        y : label or array-like of shape (n_samples,), default=None
            Class of each row; None draws it from p(y), ``class_prior_``.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
        """
        self._check_fitted()
        check_n_samples(n_samples)
        random = check_random_state(random_state)
        if y is None:
            indices = random.choice(len(self.classes_), size=n_samples, p=self.class_prior_)
        else:
            indices = self._class_indices(y, n_samples)
        rng, model = self._generator(random), self._model
        rows = self._draw(n_samples, lambda part: model.sample(self._tensor(indices[part]), rng))
        return rows, self.classes_[indices]

    def _class_indices(self, y: Any, n: int) -> np.ndarray:
        """Return indices into ``classes_`` of one label for all rows, or of one label for each row."""
        labels = np.asarray(as_host_array(y), dtype=None if not isinstance(y, (list, tuple)) else object).ravel()
        indices = indices_of(labels, self.classes_)
        if len(labels) not in (1, n):
            raise ValueError(f"y has {len(labels)} labels for {n} rows. Pass one label, or one for each row.")
        return np.broadcast_to(indices, n).copy()

    @property
    def _n_features_out(self) -> int:
        return self._architecture["n_latent"]


def in_double(q_y: Categorical) -> Tensor:
    """Log-probabilities, normalized in float64."""
    return Categorical(q_y.log_probs.double()).log_probs
